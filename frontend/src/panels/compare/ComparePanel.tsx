/** None, A, B and A + B on every prompt at once: the table that tests selectivity. */
import { Link } from '@tanstack/react-router'
import { plural, visible } from '@/api/words'
import { encodeEntry } from '@/state/basket'
import {
  type CompareRow,
  compareRows,
  describeCondition,
  describeInteraction,
  sortRows,
  WIRE,
} from '@/state/compare'
import { useSlow } from '@/state/hooks'
import { encodeSetPrompt } from '@/state/promptSet'
import { trustFacts } from '@/state/trust'
import { type Compared, useComparison } from '@/state/useComparison'
import type { Workbench } from '@/state/useWorkbench'
import type { Measure } from '@/state/workbench'
import { Seg, Switch } from '@/ui/controls'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { ErrorNotice, Panel, Recomputing, Skeleton } from '@/ui/surfaces'
import { CompareTable } from './CompareTable'
import { ContrastPicker } from './ContrastPicker'
import './compare.css'

const MEASURE_WORDS: { value: Measure; label: string }[] = [
  { value: 'probability', label: 'probability' },
  { value: 'log_probability', label: 'log p' },
  { value: 'logit', label: 'logit' },
  { value: 'difference', label: 'logit difference' },
  { value: 'kl', label: 'KL' },
]

export function ComparePanel({ bench }: { bench: Workbench }) {
  const compared = useComparison(bench)
  const { answer, contrast } = compared
  const slow = useSlow(answer.stale || answer.pending)
  const measure = bench.search.m ?? 'probability'
  if (!compared.wanted || !bench.ready) return null
  return (
    <Panel
      title="Conditions side by side"
      aside={<Recomputing on={slow} what="recomputing" />}
      tools={
        <>
          {answer.data && (
            <ExportMenu
              of={bench.id}
              name={`conditions-${measure}`}
              title="Conditions side by side"
              facts={{ ...provenanceFacts(answer.data.provenance), ...trustFacts(bench.prompts) }}
              table={() => fileOf(rowsOf(compared, bench, measure), bench, measure)}
            />
          )}
          {bench.baskets.a.length > 0 && (
            <Link
              to="/d/$id/prompts"
              params={{ id: bench.id }}
              search={{
                q: bench.prompts.map(({ spec, answer }) => encodeSetPrompt({ spec, answer })),
                a: bench.baskets.a.map(encodeEntry),
              }}
              className="btn quiet small"
            >
              A on a prompt set
            </Link>
          )}
          {measure === 'difference' && <ContrastPicker bench={bench} contrast={contrast} />}
          <Seg
            label="Measure"
            value={measure}
            options={MEASURE_WORDS}
            onChange={(m) => bench.set({ m }, { replace: true })}
          />
        </>
      }
    >
      <ErrorNotice error={answer.error} onRetry={answer.retry} />
      {!answer.data && !answer.error && (
        <div className="pad">
          <Skeleton height={110} label="Computing every condition" />
        </div>
      )}
      {answer.data && (
        <div className={slow ? 'stale' : undefined}>
          <Summary compared={compared} bench={bench} />
          <CompareTable bench={bench} rows={rowsOf(compared, bench, measure)} measure={measure} />
          <div className="compare-foot">
            {measure === 'difference' ? (
              <span className="small soft">
                {contrast
                  ? `logit of ${visible(contrast[0].name)} minus that of ${visible(contrast[1].name)}`
                  : 'Select two tokens to compare.'}
              </span>
            ) : (
              measure !== 'kl' && (
                <Switch
                  label={`${plural(bench.watch.length, 'watched token')} too`}
                  name="Rows for watched tokens"
                  checked={bench.search.all === 'yes'}
                  onChange={(on) => bench.set({ all: on ? 'yes' : undefined }, { replace: true })}
                />
              )
            )}
            <span className="small soft">
              A×B is the interaction: the effect of both together minus the sum of each, 0 where they add up.
              KL from the original model, nats.
              {compared.missing.length > 0 &&
                ` Prompt ${compared.missing.map((i) => i + 1).join(', ')} has no output and is left out.`}
            </span>
          </div>
        </div>
      )}
    </Panel>
  )
}

function rowsOf(compared: Compared, bench: Workbench, measure: Measure) {
  const answer = compared.answer.data
  if (!answer) return []
  const watched = answer.prompts[0]?.conditions[0]?.positions[0]?.watched ?? []
  const idOf = (ref: string | number) =>
    typeof ref === 'number' ? ref : watched.find((row) => row.token === ref)?.token_id
  const pair = compared.contrast?.map(({ ref }) => idOf(ref))
  const contrast: [number, number] | null =
    pair?.[0] !== undefined && pair[1] !== undefined ? [pair[0], pair[1]] : null
  const wanted = new Set(bench.watch)
  const ids = new Set(watched.filter((row) => wanted.has(row.token)).map((row) => row.token_id))
  const rows = compareRows(answer.prompts, compared.asked, {
    measure,
    contrast,
    watched: bench.search.all === 'yes' ? ids : null,
  })
  const by = bench.search.cs ?? 'prompt'
  return sortRows(rows, by, bench.search.cd ?? (by === 'prompt' ? 'asc' : 'desc'))
}

function fileOf(rows: CompareRow[], bench: Workbench, measure: Measure) {
  const conditions = ['none', 'a', 'b', 'ab'] as const
  return {
    columns: [
      { key: 'prompt' },
      { key: 'position' },
      { key: 'token_id' },
      { key: 'token' },
      { key: 'measure' },
      ...conditions.flatMap((one) => [{ key: WIRE[one] }, { key: `kl ${WIRE[one]}`, unit: 'nats' }]),
      { key: 'interaction' },
    ],
    rows: rows.map((row) => ({
      prompt: bench.prompts[row.prompt]?.text,
      position: bench.prompts[row.prompt]?.position,
      token_id: row.tokenId,
      token: row.token,
      measure,
      ...Object.fromEntries(
        conditions.flatMap((one) => [
          [WIRE[one], row.cells[one]?.value ?? null],
          [`kl ${WIRE[one]}`, row.cells[one]?.kl ?? null],
        ]),
      ),
      interaction: row.interaction,
    })),
  }
}

/** The effect of each condition on each prompt's answer, and the interaction. */
function Summary({ compared, bench }: { compared: Compared; bench: Workbench }) {
  const answer = compared.answer.data
  if (!answer) return null
  const options = { contrast: null, watched: null }
  const byProbability = compareRows(answer.prompts, compared.asked, { ...options, measure: 'probability' })
  const byLogit = compareRows(answer.prompts, compared.asked, { ...options, measure: 'logit' })
  const together = describeInteraction(byLogit, bench.prompts.length)
  const conditions = (['a', 'b', 'ab'] as const).filter((one) => byProbability.some((row) => row.cells[one]))
  return (
    <div className="compare-summary" data-testid="conditions-sentence">
      {conditions.map((one) => (
        <p key={one}>
          <span className={`cond ${one}`}>{one === 'ab' ? 'A + B' : one.toUpperCase()}</span>{' '}
          {describeCondition(byProbability, one, bench.prompts.length)}.
        </p>
      ))}
      {together && <p>{together}</p>}
    </div>
  )
}
