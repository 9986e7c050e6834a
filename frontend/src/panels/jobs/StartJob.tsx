import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { ApiError, client, unwrap } from '@/api/client'
import { queries } from '@/api/queries'
import type { JobRequest } from '@/api/types'
import { duration } from '@/api/words'
import { Button, Field } from '@/ui/controls'
import { ErrorNotice, Notice, Panel, Skeleton } from '@/ui/surfaces'
import './jobs.css'

/** Starts a decomposition from a preset; empty fields take the preset's value. */
export function StartJob() {
  const presets = useQuery(queries.presets())
  const [chosen, setChosen] = useState<string | null>(null)
  const [name, setName] = useState('')
  const [steps, setSteps] = useState('')
  const [more, setMore] = useState('')
  const [wrong, setWrong] = useState<Wrong>({})
  const queryClient = useQueryClient()
  const start = useMutation({
    mutationFn: (body: JobRequest) => unwrap(client.POST('/api/jobs', { body })),
    onSuccess: () => {
      setName('')
      return queryClient.invalidateQueries({ queryKey: ['jobs'] })
    },
  })
  const items = presets.data?.items ?? []
  const preset = items.find((one) => one.name === chosen) ?? items[0]
  const presetSteps = preset && typeof preset.config.steps === 'number' ? String(preset.config.steps) : ''

  const submit = () => {
    if (!preset) return
    const read = readOverrides(steps, more)
    setWrong(read.wrong)
    if (read.overrides)
      start.mutate({ preset: preset.name, name: name === '' ? null : name, overrides: read.overrides })
    else start.reset()
  }
  const refused = start.error instanceof ApiError ? start.error : null
  const taken = refused?.code === 'name_taken' ? refused : null
  const suggestion = taken?.details?.suggestion
  // An error about the config names its keys; it is shown beside the field that set them.
  const config = refused?.code === 'invalid_config' || refused?.code === 'invalid_request' ? refused : null
  const ofSteps = config && more.trim() === '' && steps.trim() !== '' ? config : null
  const ofName = config && !ofSteps && /“?name”?/.test(config.message) ? config : null
  const ofMore = config && !ofSteps && !ofName ? config : null
  return (
    <Panel title="Start a decomposition">
      <div className="pad">
        <ErrorNotice error={presets.error} onRetry={() => presets.refetch()} />
        {presets.isPending && <Skeleton height={120} label="Loading the presets" />}
        <fieldset className="presets">
          <legend className="hidden-visually">Preset</legend>
          {items.map((one) => (
            <label key={one.name} className="preset">
              <input
                type="radio"
                name="preset"
                value={one.name}
                checked={one === preset}
                onChange={() => setChosen(one.name)}
              />
              <span>
                <b>{one.title}</b> <span className="mono small soft">{one.name}</span>
                <span className="small soft block">{one.description}</span>
                {one.minutes !== null && one.minutes !== undefined && (
                  <span className="small soft block">
                    about {duration(one.minutes * 60)} on two CPU cores
                  </span>
                )}
              </span>
            </label>
          ))}
        </fieldset>
        {preset && (
          <form
            className="job-form"
            onSubmit={(event) => {
              event.preventDefault()
              submit()
            }}
          >
            <Field
              label="Name"
              hint="lower-case letters, digits, hyphens"
              error={
                (taken || ofName) && (
                  <>
                    {(taken ?? ofName)?.message}{' '}
                    {typeof suggestion === 'string' && (
                      <button type="button" className="link-btn" onClick={() => setName(suggestion)}>
                        Use {suggestion}
                      </button>
                    )}
                  </>
                )
              }
            >
              {(id, described) => (
                <input
                  id={id}
                  {...described}
                  className="input mono"
                  value={name}
                  placeholder={`${preset.name}-2`}
                  maxLength={100}
                  pattern="[a-z0-9][a-z0-9\-]*"
                  onChange={(event) => setName(event.target.value)}
                />
              )}
            </Field>
            <Field
              label="Steps"
              hint={presetSteps && `the preset: ${presetSteps}`}
              error={wrong.steps ?? ofSteps?.message}
            >
              {(id, described) => (
                <input
                  id={id}
                  {...described}
                  className="input mono"
                  inputMode="numeric"
                  value={steps}
                  placeholder={presetSteps}
                  onChange={(event) => setSteps(event.target.value)}
                />
              )}
            </Field>
            <Button type="submit" kind="primary" needs="write" disabled={start.isPending}>
              {start.isPending ? 'Starting…' : 'Start'}
            </Button>
            <Link to="/new" search={{ preset: preset.name }} className="btn">
              Set it up in full
            </Link>
            <details className="more wide-field" open={wrong.more || ofMore ? true : undefined}>
              <summary>Edit the config</summary>
              <Field
                label="Overrides"
                hint="A JSON object with dotted keys, set on top of the preset."
                error={wrong.more ?? ofMore?.message}
              >
                {(id, described) => (
                  <textarea
                    id={id}
                    {...described}
                    className="input mono"
                    rows={3}
                    value={more}
                    placeholder='{"seed": 1}'
                    onChange={(event) => setMore(event.target.value)}
                  />
                )}
              </Field>
              {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard */}
              <pre className="config" tabIndex={0}>
                {JSON.stringify(preset.config, null, 2)}
              </pre>
            </details>
          </form>
        )}
        <ErrorNotice error={taken || config ? null : start.error} />
        {start.data && (
          <Notice tone="good" onDismiss={() => start.reset()}>
            “{start.data.name}” is in the queue; its progress is below.
          </Notice>
        )}
      </div>
    </Panel>
  )
}

interface Wrong {
  steps?: string
  more?: string
}

/** The overrides of a form, or its errors by field. */
function readOverrides(
  steps: string,
  more: string,
): { overrides: Record<string, unknown> | null; wrong: Wrong } {
  const wrong: Wrong = {}
  let overrides: Record<string, unknown> = {}
  if (more.trim() !== '') {
    try {
      const read: unknown = JSON.parse(more)
      if (typeof read === 'object' && read !== null && !Array.isArray(read)) overrides = { ...read }
      else wrong.more = 'The overrides must be one JSON object, like {"seed": 1}.'
    } catch {
      wrong.more =
        'The overrides are not JSON. They look like {"seed": 1}; keys and strings are in double quotes.'
    }
  }
  if (steps.trim() !== '') {
    if (/^\d{1,8}$/.test(steps.trim()) && Number(steps) >= 1) overrides.steps = Number(steps)
    else wrong.steps = `“${steps}” is not a number of steps; write a whole number of 1 or more.`
  }
  return { overrides: wrong.more || wrong.steps ? null : overrides, wrong }
}
