/** Tokens associated with a component: those it fires on, and those the model predicts where it fires. */
import { useState } from 'react'
import type { TokenStat } from '@/api/types'
import { count, signed, visible } from '@/api/words'
import { ExportMenu } from '@/ui/Export'
import { Piece } from '@/ui/Piece'
import { SortHead } from '@/ui/SortHead'
import { Empty, Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'
import './component.css'

type Sort = 'count' | 'precision' | 'recall' | 'pmi'
const HEADS: { sort: Sort; head: string; what: string }[] = [
  {
    sort: 'count',
    head: 'Firings',
    what: 'positions with this token at which it fires, of all positions with it',
  },
  { sort: 'precision', head: 'Precision', what: 'P(it fires | this token)' },
  { sort: 'recall', head: 'Recall', what: 'P(this token | it fires)' },
  { sort: 'pmi', head: 'PMI, nats', what: 'log of P(it fires | this token) over P(it fires)' },
]

export function TokenTable(props: {
  of: string
  name: string
  title: string
  aside: string
  none: string
  rows: TokenStat[]
}) {
  const [sort, setSort] = useState<Sort>('recall')
  const rows = [...props.rows].sort((a, b) => b[sort] - a[sort] || b.count - a.count)
  return (
    <Panel
      title={props.title}
      aside={props.aside}
      tools={
        rows.length > 0 && (
          <ExportMenu
            of={props.of}
            name={props.name}
            title={props.title}
            table={() => ({
              columns: ['token', 'token_id', 'count', 'total', 'precision', 'recall', 'pmi'].map((key) => ({
                key,
                unit: key === 'pmi' ? 'nats' : undefined,
                typed: key === 'token',
              })),
              rows: rows.map(({ token, ...rest }) => ({ token: token.piece, token_id: token.id, ...rest })),
            })}
          />
        )
      }
    >
      {rows.length === 0 ? (
        <Empty title={props.none} />
      ) : (
        <TableScroll label={props.title} tall>
          <table className="data compact">
            <thead>
              <tr>
                <th scope="col">Token</th>
                {HEADS.map((head) => (
                  <SortHead
                    key={head.sort}
                    sorted={head.sort === sort ? 'desc' : undefined}
                    onSort={() => setSort(head.sort)}
                    className="right"
                    title={head.what}
                  >
                    {head.head}
                  </SortHead>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.token.id}>
                  <th
                    scope="row"
                    className="mono"
                    title={`token ${row.token.id}: ${visible(row.token.piece)}`}
                  >
                    <Piece text={row.token.piece} />
                  </th>
                  <td className="right num">
                    {count(row.count)} <span className="faint">of {count(row.total)}</span>
                  </td>
                  <td className="right num">{row.precision.toFixed(2)}</td>
                  <td className="right num">{row.recall.toFixed(2)}</td>
                  <td className="right num">{signed(row.pmi, 2)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableScroll>
      )}
    </Panel>
  )
}
