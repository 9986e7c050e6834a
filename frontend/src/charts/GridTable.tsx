import { memo } from 'react'
import { figure, visible } from '@/api/words'
import { type Block, type Row, rowName, SHOW_WORDS, type Show } from './grid'

/** Above this many cells the table lists only rows that are not empty, and the caption mentions it. */
const FULL = 4000

/** The heatmap as a table for screen readers, visually hidden. */
export const GridTable = memo(function GridTable({
  rows,
  block,
  show,
}: {
  rows: Row[]
  block: Block
  show: Show
}) {
  const columns = block.tokens.length
  const whole = rows.length * columns <= FULL
  const at = (r: number, c: number) => block.values[r * columns + c] ?? 0
  const used = rows
    .map((row, r) => ({ row, r }))
    .filter(({ r }) => whole || block.tokens.some((_, c) => at(r, c) > 0))
  const listed = whole ? used : used.slice(0, Math.floor(FULL / Math.max(1, columns)))
  return (
    <div className="hidden-visually">
      <table>
        <caption>
          {SHOW_WORDS[show].caption}, {block.name}, by site and token.
          {listed.length < rows.length &&
            ` ${listed.length} of ${rows.length} rows are listed; fold layers to hear all.`}
        </caption>
        <thead>
          <tr>
            <th scope="col">Site</th>
            {block.tokens.map((token, c) => (
              <th scope="col" key={c}>
                {visible(token.piece)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {listed.map(({ row, r }) => (
            <tr key={row.id}>
              <th scope="row">
                {row.kind === 'site' && row.layer !== null ? `L${row.layer} ${rowName(row)}` : rowName(row)}
              </th>
              {block.tokens.map((_, c) => (
                <td key={c}>{at(r, c) > 0 ? figure(at(r, c)) : '0'}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
})
