import type { PaperTable, Provenance, TableRow } from '@/api/types'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'

const TONES: Record<TableRow['verdict'], string> = {
  agrees: 'good',
  fewer: 'weak',
  more: 'weak',
  differs: 'weak',
  'not comparable': '',
}
const SIGNS: Record<TableRow['verdict'], string> = {
  agrees: '✓ ',
  fewer: '< ',
  more: '> ',
  differs: '≠ ',
  'not comparable': '',
}

/** A table from a paper, beside our values. */
export function PaperTablePanel({ table, from }: { table: PaperTable; from: Provenance }) {
  return (
    <Panel
      title={table.title}
      aside={table.source}
      tools={
        <ExportMenu
          of={from.decomposition}
          name="paper-table"
          title={table.title}
          facts={{ ...provenanceFacts(from), source: table.source }}
          table={() => ({
            columns: ['name', 'paper', 'ours', 'verdict', 'note'].map((key) => ({ key })),
            rows: table.rows,
          })}
        />
      }
    >
      <TableScroll label={table.title}>
        <table className="data" aria-label={table.title}>
          <thead>
            <tr>
              <th scope="col">Site</th>
              <th scope="col">The paper</th>
              <th scope="col">Ours</th>
              <th scope="col">Agreement</th>
              <th scope="col">Remark</th>
            </tr>
          </thead>
          <tbody>
            {table.rows.map((row) => (
              <tr key={row.name}>
                <th scope="row" className="mono">
                  {row.name}
                </th>
                <td className="mono">{row.paper}</td>
                <td className="mono">
                  <b>{row.ours}</b>
                </td>
                <td>
                  <span className={`badge ${TONES[row.verdict]}`}>
                    {SIGNS[row.verdict]}
                    {row.verdict}
                  </span>
                </td>
                <td className="small soft">{row.note}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
      {table.notes.length > 0 && (
        <div className="pad small soft">
          {table.notes.map((note) => (
            <p key={note}>{note}</p>
          ))}
        </div>
      )}
    </Panel>
  )
}
