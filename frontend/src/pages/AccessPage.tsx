import { AccessTokens } from '@/panels/access/AccessTokens'
import { AuditLog } from '@/panels/access/AuditLog'
import { useTitle } from '@/state/hooks'

export function AccessPage() {
  useTitle('Access')
  return (
    <div className="page">
      <div className="page-head">
        <div>
          <h1>Access</h1>
          <p className="lead">Who may use this server with a token of their own, and who changed what.</p>
        </div>
      </div>
      <AccessTokens />
      <AuditLog />
    </div>
  )
}
