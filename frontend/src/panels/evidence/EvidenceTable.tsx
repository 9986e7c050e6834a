import type { EvidenceRow, Provenance } from '@/api/types'
import { measured, plural } from '@/api/words'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'
import './evidence.css'

/** The quality of the run: every figure with its meaning, and a warning where it is weak. */
export function EvidenceTable({
  rows,
  positions,
  from,
}: {
  rows: EvidenceRow[]
  positions: string
  from: Provenance
}) {
  if (rows.length === 0) return null
  return (
    <Panel
      title="Evidence"
      aside={`measured on ${positions}`}
      tools={
        <ExportMenu
          of={from.decomposition}
          name="evidence"
          title="Evidence"
          facts={provenanceFacts(from)}
          table={() => ({
            columns: [
              'name',
              'label',
              'held_out',
              'train',
              'spread',
              'unit',
              'status',
              'warning',
              'explain',
            ].map((key) => ({ key })),
            rows,
          })}
        />
      }
    >
      <TableScroll label="Evidence">
        <table className="data">
          <thead>
            <tr>
              <th scope="col">Measure</th>
              <th scope="col" className="right">
                Held out
              </th>
              <th scope="col" className="right">
                Trained on
              </th>
              <th scope="col">Unit</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.name}>
                <th scope="row">
                  <span className="measured">
                    <span className={`dot ${row.status}`}>
                      <span className="hidden-visually">{row.status}: </span>
                    </span>
                    <span>
                      {row.label}
                      <small>{row.explain}</small>
                      {row.warning && <small className="warning">{row.warning}</small>}
                    </span>
                  </span>
                </th>
                <td className="right num">
                  <b>{measured(row.held_out, row.unit)}</b>
                </td>
                <td className="right num">
                  {measured(row.train, row.unit)}
                  {row.spread !== null && row.spread !== undefined && (
                    <small>
                      {' '}
                      ± {measured(row.spread, row.unit)}
                      {row.seeds && `, ${plural(row.seeds, 'seed')}`}
                    </small>
                  )}
                </td>
                <td className="soft small">{row.unit}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
    </Panel>
  )
}
