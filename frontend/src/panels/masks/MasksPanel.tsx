/** Masks other than plain suppression: the causal importances themselves, rounded, stochastic, and adversarial. */
import { useQuery } from '@tanstack/react-query'
import { experiments } from '@/api/experiments'
import type { RegimeRequest, Regimes } from '@/api/types'
import { visible } from '@/api/words'
import { useSlow } from '@/state/hooks'
import { live } from '@/state/live'
import { promptBody } from '@/state/prompts'
import { subjectOfPrompt } from '@/state/useComparison'
import type { Workbench } from '@/state/useWorkbench'
import { Seg } from '@/ui/controls'
import { NumberField } from '@/ui/NumberField'
import { ErrorNotice, Recomputing, Skeleton } from '@/ui/surfaces'
import { Outcomes } from './Outcomes'
import './masks.css'

const SHOWN = 8

export function MasksPanel({ bench }: { bench: Workbench }) {
  const { search } = bench
  const prompt = bench.prompts[bench.active]
  const keep = search.keep ?? 'importances'
  const subject = prompt ? subjectOfPrompt(prompt) : null
  const basket = prompt?.suppressed ?? []
  const empty = keep === 'basket' && basket.length === 0
  const body: Partial<RegimeRequest> = {
    ...promptBody(prompt?.spec ?? { text: '', bos: false }),
    components: keep === 'basket' ? basket : null,
    threshold: bench.threshold,
    samples: search.ns ?? 16,
    steps: search.st ?? 20,
    seed: search.seed ?? 0,
    top_k: SHOWN,
    watch: subject ? [subject.token_id] : [],
    positions: [prompt?.position ?? 0],
  }
  const query = useQuery({
    ...experiments.regimes(bench.id, body),
    enabled: bench.ready && bench.known && !empty && prompt?.shown.data !== undefined,
  })
  const answer = live<Regimes>(query)
  const slow = useSlow(answer.stale || answer.pending)
  const put = (patch: Partial<typeof search>) => bench.set(patch, { replace: true })
  return (
    <div className="lab-body">
      <div className="lab-controls">
        <span className="small soft">always on</span>
        <Seg
          label="Always on"
          value={keep}
          options={[
            { value: 'importances', label: 'components in use' },
            { value: 'basket', label: 'the basket' },
          ]}
          onChange={(next) => put({ keep: next })}
        />
        <NumberField
          label="samples"
          value={search.ns ?? 16}
          min={1}
          max={64}
          onChange={(ns) => put({ ns })}
        />
        <NumberField label="steps" value={search.st ?? 20} min={0} max={100} onChange={(st) => put({ st })} />
        <NumberField
          label="seed"
          value={search.seed ?? 0}
          min={0}
          max={4_294_967_295}
          onChange={(seed) => put({ seed })}
        />
        <span className="grow" />
        <Recomputing on={slow} what="computing" />
      </div>
      <p className="small soft lab-note">
        Prompt {bench.active + 1}, after <span className="mono">{visible(placeOf(bench))}</span>. If the
        causal importances are right, components that are not in use can be removed by any amount without
        changing the output. A component is in use from a CI of {bench.threshold}.
      </p>
      {empty && (
        <p className="lab-empty soft">
          Nothing is applied: press Suppress first, or select the components in use.
        </p>
      )}
      <ErrorNotice error={answer.error} onRetry={answer.retry} />
      {!empty && !answer.data && !answer.error && bench.ready && (
        <Skeleton height={180} label="Computing four kinds of masks" />
      )}
      {!empty && answer.data && prompt?.shown.data && (
        <div className={slow ? 'stale' : undefined}>
          <Outcomes of={bench.id} regimes={answer.data} plain={prompt.shown.data} prompt={prompt} />
        </div>
      )}
    </div>
  )
}

const placeOf = (bench: Workbench) => {
  const prompt = bench.prompts[bench.active]
  return prompt?.tokens[prompt.position]?.piece ?? ''
}
