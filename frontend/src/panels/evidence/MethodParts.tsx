import type { MethodPart, Provenance } from '@/api/types'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'
import './evidence.css'

const TONES: Record<MethodPart['use'], string> = {
  'as in the paper': 'good',
  changed: 'weak',
  'not used': '',
  added: 'accent',
}

/** Which parts of the paper's method the run uses, read off its config. */
export function MethodParts({ parts, from }: { parts: MethodPart[]; from: Provenance }) {
  return (
    <Panel
      title="The paper’s method, and this run"
      aside="read off the run’s config"
      tools={
        <ExportMenu
          of={from.decomposition}
          name="method"
          title="The paper’s method, and this run"
          facts={provenanceFacts(from)}
          table={() => ({ columns: ['name', 'paper', 'here', 'use'].map((key) => ({ key })), rows: parts })}
        />
      }
    >
      <TableScroll label="Parts of the method">
        <table className="data" aria-label="Parts of the method">
          <thead>
            <tr>
              <th scope="col">Part</th>
              <th scope="col">The paper</th>
              <th scope="col">This run</th>
              <th scope="col">Use</th>
            </tr>
          </thead>
          <tbody>
            {parts.map((part) => (
              <tr key={part.name}>
                <th scope="row">{part.name}</th>
                <td className="soft">{part.paper}</td>
                <td>{part.here}</td>
                <td>
                  <span className={`badge ${TONES[part.use]}`}>{part.use}</span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
    </Panel>
  )
}
