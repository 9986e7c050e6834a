import type { PromptComparison } from '@/api/types'
import { nats, plural, probability, visible } from '@/api/words'
import { KLStrip } from '@/charts/Bars'
import { useSlow } from '@/state/hooks'
import { describeShift, interaction, type Sentence, shiftAt, shiftRows } from '@/state/shift'
import type { PromptView, Workbench } from '@/state/useWorkbench'
import { ErrorNotice, Recomputing, Skeleton } from '@/ui/surfaces'
import { ShiftTable, type TableRow } from './ShiftTable'
import './shift.css'

export function ShiftColumn({
  bench,
  prompt,
  index,
  maxKl,
  comparison,
}: {
  bench: Workbench
  prompt: PromptView
  index: number
  maxKl: number
  /** A, B and A + B on this prompt: what the interaction is read from. */
  comparison: PromptComparison | null
}) {
  const { shown } = prompt
  const slow = useSlow(shown.stale || shown.pending)
  const result = shown.data
  const shift = result ? shiftAt(result, prompt.position) : null
  const ablated = (result?.components ?? 0) > 0
  const described = shift && describeShift(shift, prompt.answer, ablated)
  const token = result?.tokens[prompt.position]
  if (!bench.ready && !result && !shown.error) return null
  return (
    <article className="shift-column" aria-label={`Output shift, ${prompt.name}`}>
      <div className="column-head">
        <span className="prompt-number small" aria-hidden="true">
          {index + 1}
        </span>
        <span className="faint small">
          {token && (
            <>
              after <span className="mono">{visible(token.piece)}</span>
            </>
          )}
          {result &&
            ablated &&
            ` · ${plural(result.components, 'component')} ${result.mode === 'suppress' ? 'suppressed' : 'kept'}`}
        </span>
        <span className="grow" />
        <Recomputing on={slow} what={shown.stale ? 'recomputing' : 'computing'} />
      </div>
      <ErrorNotice error={shown.error} onRetry={shown.retry} />
      {!result &&
        !shown.error &&
        bench.ready &&
        (shown.pending ? <Skeleton height={240} label="Computing the output" /> : null)}
      {result && shift && (
        <div className={slow ? 'stale' : undefined}>
          {described && <ShiftSentence described={described} />}
          <ShiftTable
            name={prompt.name}
            rows={rowsOf(prompt, comparison)}
            interaction={bench.condition === 'ab'}
            sort={bench.search.sort}
            dir={bench.search.dir}
            onSort={(sort, dir) => bench.set({ sort, dir }, { replace: true })}
          />
          <div className="kl-line">
            <span className="small soft">KL by position, nats</span>
            <span className="num small soft">
              here {nats(shift.kl)} · max {nats(result.max_kl)}
            </span>
          </div>
          <KLStrip
            label={`KL by position of ${prompt.name}; select a position`}
            tokens={result.tokens.map((one) => one.piece)}
            kl={result.kl}
            max={Math.max(maxKl, 1e-2)}
            chosen={prompt.position}
            onChoose={(position) => bench.setPosition(index, position)}
          />
          <p className="self-check small">
            Self-check{result.self_check.of === 'probe' && ' when the model was loaded'}: nothing suppressed,
            KL {nats(result.self_check.max_kl)} nats{' '}
            {result.self_check.max_kl < 1e-6 ? '✓' : '– this should be below 1e-6'}
          </p>
        </div>
      )}
    </article>
  )
}

function rowsOf(prompt: PromptView, comparison: PromptComparison | null): TableRow[] {
  const shift = prompt.shown.data && shiftAt(prompt.shown.data, prompt.position)
  if (!shift) return []
  const find = (which: 'A' | 'B', id: number) => {
    const there = comparison?.conditions.find((result) => result.condition === which)?.positions[0]
    return there && shiftRows(there).find((row) => row.token_id === id)
  }
  return shiftRows(shift).map((row) => ({
    ...row,
    interaction: interaction(row, find('A', row.token_id), find('B', row.token_id)),
  }))
}

/** The sentence above the table: what happened to the prompt's answer. */
function ShiftSentence({ described }: { described: Sentence }) {
  const before = probability(described.before)
  const after = probability(described.after)
  return (
    <p className="sentence" data-testid="shift-sentence">
      <b>{visible(described.token)}</b>{' '}
      {described.verb === 'is' && (
        <>
          is at <b>{before}</b>
        </>
      )}
      {described.verb === 'stays' && (
        <>
          stays: <span className="nowrap">{before}</span> to <b>{after}</b>
        </>
      )}
      {(described.verb === 'falls' || described.verb === 'rises') && (
        <>
          {described.verb} from <span className="nowrap">{before}</span> to{' '}
          <b className={described.verb === 'falls' ? 'down' : 'up'}>{after}</b>
        </>
      )}
      {described.first && (
        <span className="soft">
          ; the most likely token is now <b>{visible(described.first.token)}</b> at{' '}
          <span className="nowrap">{probability(described.first.probability)}</span>
        </span>
      )}
    </p>
  )
}
