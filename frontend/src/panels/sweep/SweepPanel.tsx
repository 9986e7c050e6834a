/** Sweeps: many components, each suppressed alone; or a basket at rising strength. Rows appear as they are computed. */
import { useEffect, useRef } from 'react'
import { withDefaults } from '@/api/client'
import type { SweepRequest } from '@/api/types'
import { shortSite, visible } from '@/api/words'
import { expandBasket } from '@/state/basket'
import { sitesOfRow } from '@/state/importances'
import { RANKS, type Rank, type SweepKind } from '@/state/lab'
import { promptBody } from '@/state/prompts'
import { contrastOf, subjectOfPrompt } from '@/state/useComparison'
import type { Sweep, SweepAsked } from '@/state/useSweep'
import { useTokenInput } from '@/state/useTokenInput'
import type { Workbench } from '@/state/useWorkbench'
import { Button, Seg, Switch } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Popover } from '@/ui/surfaces'
import { TokenInput } from '@/ui/TokenInput'
import { SweepResult } from './SweepResult'
import './sweep.css'

const MEASURES: Record<Rank, string> = {
  kl: 'KL',
  watched: 'probability',
  contrast: 'logit difference',
  ce: 'cross-entropy',
}
const STRENGTHS = Array.from({ length: 21 }, (_, i) => i / 20)

export function SweepPanel({ bench, sweep }: { bench: Workbench; sweep: Sweep }) {
  const { search } = bench
  const kind = search.sk ?? 'alive'
  const question = useQuestion(bench, kind)
  const { run } = sweep
  const running = run?.state === 'running'
  const by = search.by ?? 'kl'
  const start = () => {
    if (!question.asked || !question.request) return
    sweep.start(question.asked, question.request)
    bench.set({ run: 'yes' }, { replace: true })
  }
  const cancel = () => {
    sweep.cancel()
    bench.set({ run: undefined }, { replace: true })
  }
  // A link to a sweep starts it, once, as soon as its inputs have loaded.
  const linked = useRef(search.run === 'yes' && run === null)
  // biome-ignore lint/correctness/useExhaustiveDependencies: only the address a page was opened with starts one
  useEffect(() => {
    if (!linked.current || !question.asked || !question.request) return
    linked.current = false
    sweep.start(question.asked, question.request)
  }, [question.asked?.key])

  return (
    <div className="lab-body">
      <div className="lab-controls">
        <Seg
          label="Sweep over"
          value={kind}
          options={[
            { value: 'alive', label: 'every component alone' },
            { value: 'basket', label: 'the basket’s, each alone' },
            { value: 'strengths', label: 'the basket’s strength' },
          ]}
          onChange={(sk) => bench.set({ sk, run: undefined }, { replace: true })}
        />
        {kind === 'alive' && question.row && (
          <Switch
            label={`only ${question.row}`}
            name={`Only the components of ${question.row}`}
            checked={search.here === 'yes'}
            onChange={(on) => bench.set({ here: on ? 'yes' : undefined, run: undefined }, { replace: true })}
          />
        )}
        <TokenChoice bench={bench} token={question.token} />
        <span className="grow" />
        {running ? (
          <Button onClick={cancel}>Cancel</Button>
        ) : (
          <Button kind="primary" disabled={!question.asked || !bench.ready} onClick={start}>
            {run ? 'Run again' : 'Run'}
          </Button>
        )}
      </div>
      <p className="small soft lab-note">
        {question.problem ?? (
          <>
            Each is suppressed {kind === 'strengths' ? 'at rising strength' : 'alone'} and the output after{' '}
            <span className="mono">{visible(question.place)}</span> in prompt {bench.active + 1} is compared
            with that of the original model.
            {bench.mode === 'keep_only' && ' A sweep always suppresses, also in keep-only mode.'}
          </>
        )}
      </p>
      {run && (
        <SweepResult
          bench={bench}
          run={run}
          by={by}
          measures={MEASURES}
          onBy={(next) => bench.set({ by: next }, { replace: true })}
          outdated={question.asked !== null && question.asked.key !== run.asked.key}
          onRetry={start}
        />
      )}
      {!run && (
        <p className="lab-empty soft">
          {kind === 'strengths'
            ? 'How far the output moves as the strength of the basket rises from 0 to its full value.'
            : `The effect of each component alone, ranked by ${RANKS.map((one) => MEASURES[one]).join(', ')}.`}
        </p>
      )}
    </div>
  )
}

/** The sweep of the current settings, or why there is none. */
function useQuestion(bench: Workbench, kind: SweepKind) {
  const { search, baskets } = bench
  const prompt = bench.prompts[bench.active]
  const subject = prompt ? subjectOfPrompt(prompt) : null
  const token = search.tk ?? subject?.token ?? null
  const ref = search.tk ?? subject?.token_id ?? null
  const pair = contrastOf(bench)
  const which = baskets.a.length > 0 ? 'a' : 'b'
  const length = prompt?.tokens.length ?? 0
  const components = expandBasket(baskets[which], bench.groupsByName, length).components
  const index = prompt?.index ?? null
  const inRow = index && search.row ? sitesOfRow(index.sites, search.row) : []
  const row = inRow.length > 0 && search.row ? shortSite(search.row) : null
  const sites = row && search.here === 'yes' ? inRow : null
  const place = prompt?.shown.data?.tokens[prompt.position]?.piece ?? ''
  const problem = !bench.ready
    ? 'Sweeps are available once the weights are ready.'
    : !prompt?.shown.data
      ? 'The prompt has no output yet; see the panels above.'
      : kind !== 'alive' && components.length === 0
        ? 'The basket is empty. Add components to it, or sweep every component.'
        : null
  if (problem || !prompt || !bench.known) return { asked: null, request: null, problem, place, token, row }
  const request = withDefaults<SweepRequest>({
    ...promptBody(prompt.spec),
    kind: kind === 'basket' ? 'components' : kind,
    components: kind === 'alive' ? [] : components,
    sites: kind === 'alive' ? sites : null,
    strengths: STRENGTHS,
    position: prompt.position,
    watch: ref === null ? [] : [ref],
    contrast: pair ? [pair[0].ref, pair[1].ref] : null,
    answer: ref,
  })
  const asked: SweepAsked = {
    kind,
    prompt: `prompt ${bench.active + 1}${sites && row ? `, ${row} only` : ''}`,
    place,
    token,
    contrast: pair && [pair[0].name, pair[1].name],
    key: JSON.stringify(request),
  }
  return { asked, request, problem, place, token, row }
}

function TokenChoice({ bench, token }: { bench: Workbench; token: string | null }) {
  const input = useTokenInput(bench.id, bench.offers)
  return (
    <Popover
      label="Token of the sweep"
      trigger={
        <Button size="small">
          token <span className="mono">{token === null ? '–' : visible(token)}</span> <Icon name="down" />
        </Button>
      }
    >
      <div className="watch">
        <p className="small soft">Its probability and its cross-entropy are measured in every row.</p>
        <TokenInput
          label="Another token"
          input={input}
          onChoose={(tk) => bench.set({ tk, run: undefined }, { replace: true })}
        />
        {bench.search.tk && (
          <button
            type="button"
            className="link-btn small"
            onClick={() => bench.set({ tk: undefined }, { replace: true })}
          >
            Reset to the answer of the prompt
          </button>
        )}
      </div>
    </Popover>
  )
}
