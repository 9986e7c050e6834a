import { useQuery } from '@tanstack/react-query'
import { useSearch } from '@tanstack/react-router'
import { useEffect, useState } from 'react'
import { newRun } from '@/api/newRun'
import { queries } from '@/api/queries'
import type { Source } from '@/api/types'
import { plural } from '@/api/words'
import { DataStep } from '@/panels/new/DataStep'
import { MethodStep } from '@/panels/new/MethodStep'
import { ModelStep } from '@/panels/new/ModelStep'
import { ReviewStep } from '@/panels/new/ReviewStep'
import { SitesStep } from '@/panels/new/SitesStep'
import { YamlPanel } from '@/panels/new/YamlPanel'
import { useDebounced, useTitle } from '@/state/hooks'
import {
  bosOf,
  type Config,
  type DataKind,
  kindOf,
  promptsOf,
  type Size,
  withMethod,
  withModel,
} from '@/state/newRun'
import { ErrorNotice, Panel } from '@/ui/surfaces'

const EMPTY: Record<DataKind, Config> = {
  prompts: { kind: 'prompts', prompts: [] },
  facts: { kind: 'facts', relations: [{ name: 'relation', templates: [], facts: {} }] },
  corpus: { kind: 'corpus', shipped: 'smollm2-samples' },
}

/** A run of one’s own, from a model and an idea to a job in the queue; `?job=` and `?preset=` begin with a config that is there. */
export function NewPage() {
  useTitle('New decomposition')
  const { job: id, preset: named } = useSearch({ from: '/new' })
  const [config, setConfig] = useState<Config>({ data: EMPTY.prompts })
  const [size, setSize] = useState<Size | null>('good')
  const recipes = useQuery(newRun.recipes())
  const job = useQuery({ ...queries.job(id ?? '', false), enabled: id !== undefined })
  const presets = useQuery({ ...queries.presets(), enabled: named !== undefined })
  const source = (config.target ?? null) as Source | null
  const model = useQuery(newRun.inspected(source))
  const items = recipes.data?.items ?? []
  const recipe = (kind: DataKind, of: Size) => items.find((one) => one.kind === kind && one.size === of)

  useEffect(() => {
    const preset = presets.data?.items.find((one) => one.name === named)
    const given = job.data?.kind === 'decompose' ? job.data.config : preset?.config
    if (!given) return
    setConfig({ ...given, name: `${String(given.name).slice(0, 90)}-mine` })
    setSize(null)
  }, [job.data, presets.data, named])
  useEffect(() => {
    const [first] = recipes.data?.items.filter((one) => one.kind === 'prompts' && one.size === 'good') ?? []
    setConfig((old) => (old.losses === undefined ? withMethod(old, first) : old))
  }, [recipes.data])
  useEffect(() => {
    if (model.data)
      setConfig((old) => (old.sites === undefined && source ? withModel(old, source, model.data) : old))
  }, [model.data, source])

  const choose = (next: Source) => setConfig((old) => ({ ...old, target: next, sites: undefined }))
  const chooseKind = (kind: DataKind) => {
    setSize('good')
    setConfig((old) => withMethod({ ...old, data: EMPTY[kind] }, recipe(kind, 'good')))
  }
  const prompts = useDebounced(promptsOf(config), 500)
  const asked = useQuery(newRun.asked(source, prompts, bosOf(config)))
  const unusable = asked.isPlaceholderData ? 0 : (asked.data?.items.filter((one) => one.fault).length ?? 0)
  const missing =
    whatIsMissing(config, model.data !== undefined) ??
    (unusable > 0 ? `${plural(unusable, 'prompt')} cannot be used; step 3 says why.` : null)
  return (
    <div className="page">
      <div className="page-head">
        <div>
          <h1>New decomposition</h1>
          <p className="lead">Your own model, your own prompts. Nothing starts before the last step.</p>
        </div>
      </div>
      <ErrorNotice error={job.error ?? recipes.error} />
      <div className="new-columns">
        <div className="new-main">
          <ModelStep source={source} onSource={choose} />
          {model.data && source ? (
            <>
              <SitesStep
                model={model.data}
                patterns={(config.sites as string[] | undefined) ?? []}
                onPatterns={(sites) => setConfig((old) => ({ ...old, sites }))}
              />
              <DataStep source={source} config={config} onKind={chooseKind} onConfig={setConfig} />
              <MethodStep
                config={config}
                recipes={items}
                size={size}
                onSize={(next) => {
                  setSize(next)
                  setConfig((old) => withMethod(old, recipe(kindOf(old), next)))
                }}
                onConfig={setConfig}
              />
              <ReviewStep config={config} ready={missing} onConfig={setConfig} />
            </>
          ) : (
            <Panel title="2 to 5 · Sites, data, method, review">
              <p className="pad soft">They open once a model is chosen.</p>
            </Panel>
          )}
        </div>
        <aside className="new-aside">
          <YamlPanel
            config={config}
            ready={missing === null}
            onConfig={(next) => {
              setConfig(next)
              setSize(null)
            }}
          />
        </aside>
      </div>
    </div>
  )
}

/** What has to be there before the config can be looked at. */
function whatIsMissing(config: Config, known: boolean): string | null {
  if (!known) return 'Choose a model first.'
  if (((config.sites as string[] | undefined) ?? []).length === 0) return 'Choose at least one site.'
  const data = config.data as { relations?: { templates: string[]; facts: object }[]; path?: string }
  if (kindOf(config) === 'prompts' && promptsOf(config).length === 0) return 'Add some prompts first.'
  const [relation] = data.relations ?? []
  if (relation && (relation.templates.length === 0 || Object.keys(relation.facts).length === 0))
    return 'Give a template and some facts first.'
  if (data.path === '') return 'Name the text first.'
  return config.losses === undefined ? 'The method is being loaded.' : null
}
