import { nats, probabilityChange, signed, visible } from '@/api/words'
import { type Cell, type CompareRow, measured } from '@/state/compare'
import type { Workbench } from '@/state/useWorkbench'
import type { CompareSort, Condition, Measure } from '@/state/workbench'
import { Piece } from '@/ui/Piece'
import { SortHead } from '@/ui/SortHead'
import { TableScroll } from '@/ui/TableScroll'
import './compare.css'

const HEADS: Record<CompareSort, string> = {
  prompt: 'Prompt',
  none: 'none',
  a: 'A',
  b: 'B',
  ab: 'A + B',
  interaction: 'A×B',
}

/** prompts × conditions: the measure, its change from none, and the KL. Sorted by what a condition changes. */
export function CompareTable({
  bench,
  rows,
  measure,
}: {
  bench: Workbench
  rows: CompareRow[]
  measure: Measure
}) {
  const by = bench.search.cs ?? 'prompt'
  const dir = bench.search.cd ?? (by === 'prompt' ? 'asc' : 'desc')
  const conditions = (['none', 'a', 'b', 'ab'] as const).filter((one) => rows.some((row) => row.cells[one]))
  const four = conditions.length === 4 && measure !== 'kl'
  const choose = (one: CompareSort) => {
    const fallback = one === 'prompt' ? 'asc' : 'desc'
    const next = one === by ? (dir === 'asc' ? 'desc' : 'asc') : fallback
    bench.set({ cs: one, cd: next === fallback ? undefined : next }, { replace: true })
  }
  const head = (one: CompareSort) => (
    <SortHead
      key={one}
      sorted={one === by ? dir : undefined}
      onSort={() => choose(one)}
      className={`${one === 'prompt' ? 'left' : ''} ${one === bench.condition ? 'shown' : ''}`}
    >
      {HEADS[one]}
    </SortHead>
  )
  return (
    <TableScroll label="Conditions side by side">
      <table className="numbers compare-table" aria-label="Prompts by condition">
        <thead>
          <tr>
            {head('prompt')}
            {conditions.map(head)}
            {four && head('interaction')}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.id}>
              <th scope="row" className="left">
                <span className="prompt-number small" aria-hidden="true">
                  {row.prompt + 1}
                </span>
                <span className="hidden-visually">Prompt {row.prompt + 1}, </span>
                <span className="compare-token">
                  {measure !== 'kl' && measure !== 'difference' && <Piece text={row.token} />}
                  <small>after {visible(after(bench, row.prompt))}</small>
                </span>
              </th>
              {conditions.map((one) => (
                <Value key={one} condition={one} cell={row.cells[one]} measure={measure} bench={bench} />
              ))}
              {four && (
                <td className="strong">
                  {row.interaction === null
                    ? '–'
                    : measure === 'probability'
                      ? `${probabilityChange(row.interaction)} pp`
                      : signed(row.interaction, 2)}
                </td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </TableScroll>
  )
}

const after = (bench: Workbench, i: number) => {
  const prompt = bench.prompts[i]
  return prompt?.shown.data?.tokens[prompt.position]?.piece ?? ''
}

function Value(props: { condition: Condition; cell: Cell | undefined; measure: Measure; bench: Workbench }) {
  const { cell, measure, condition } = props
  const shown = condition === props.bench.condition ? 'shown' : ''
  if (!cell) return <td className={shown}>–</td>
  const change = cell.change ?? 0
  const tone = condition === 'none' || measure === 'kl' ? '' : toneOf(cell, measure)
  return (
    <td className={shown}>
      <b className={tone}>{measured(cell.value, measure)}</b>
      <small>
        {condition === 'none'
          ? '\u00a0'
          : measure === 'kl'
            ? 'nats'
            : `${measure === 'probability' ? `${probabilityChange(change)} pp` : signed(change, 2)} · KL ${nats(cell.kl)}`}
      </small>
    </td>
  )
}

/** Changes are coloured where they exceed a tenth, of the probability or of a nat. */
function toneOf(cell: Cell, measure: Measure): string {
  const change = cell.change ?? 0
  const before = (cell.value ?? 0) - change
  const least = measure === 'probability' ? Math.max(before, 1e-4) * 0.1 : 0.1
  return Math.abs(change) <= least ? '' : change < 0 ? 'down' : 'up'
}
