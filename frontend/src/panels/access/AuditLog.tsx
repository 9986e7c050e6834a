import { useQuery } from '@tanstack/react-query'
import { audit } from '@/api/access'
import { ErrorNotice, Panel, Skeleton } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'

/** The last changes on this server: who did what, to what, and from where. */
export function AuditLog() {
  const lines = useQuery(audit)
  return (
    <Panel title="Changes" aside="the last hundred; unweave audit has all">
      <ErrorNotice error={lines.error} onRetry={() => lines.refetch()} />
      {lines.isPending && <Skeleton height={90} label="Loading the changes" />}
      {lines.data?.items.length === 0 && <p className="soft">Nothing has been changed yet.</p>}
      {lines.data && lines.data.items.length > 0 && (
        <TableScroll label="Changes" tall>
          <table className="data">
            <thead>
              <tr>
                <th scope="col">When</th>
                <th scope="col">Who</th>
                <th scope="col">What</th>
                <th scope="col">Of</th>
                <th scope="col">From</th>
              </tr>
            </thead>
            <tbody>
              {lines.data.items.map((line) => (
                <tr key={`${line.at} ${line.action} ${line.subject}`}>
                  <td className="num">{new Date(line.at).toLocaleString('en-GB')}</td>
                  <td>{line.who}</td>
                  <td>{line.action.replaceAll('_', ' ')}</td>
                  <td>{line.subject}</td>
                  <td className="num">{line.address}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableScroll>
      )}
    </Panel>
  )
}
