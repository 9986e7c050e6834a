import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { accessTokens } from '@/api/access'
import { client, unwrap } from '@/api/client'
import type { AccessToken } from '@/api/types'
import { day } from '@/api/words'
import { Button } from '@/ui/controls'
import { Dialog, Empty, ErrorNotice, Panel, Skeleton } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'
import { CreateToken } from './CreateToken'

/** The access tokens of this server: made and taken away here. */
export function AccessTokens() {
  const tokens = useQuery(accessTokens)
  const [leaving, setLeaving] = useState<AccessToken | null>(null)
  return (
    <Panel title="Access tokens" tools={<CreateToken />}>
      <ErrorNotice error={tokens.error} onRetry={() => tokens.refetch()} />
      {tokens.isPending && <Skeleton height={90} label="Loading the access tokens" />}
      {tokens.data?.items.length === 0 && (
        <Empty title="No access token yet">
          <p>Make one for each person and each program, so that each can be taken away by itself.</p>
        </Empty>
      )}
      {tokens.data && tokens.data.items.length > 0 && (
        <TableScroll label="Access tokens">
          <table className="data">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">Role</th>
                <th scope="col">Made</th>
                <th scope="col">Expires</th>
                <th scope="col">Last used</th>
                <th scope="col">
                  <span className="hidden-visually">Revoke</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {tokens.data.items.map((token) => (
                <tr key={token.id}>
                  <th scope="row">{token.name}</th>
                  <td>{token.role}</td>
                  <td>{day(token.created_at)}</td>
                  <td>
                    {token.expired ? 'expired' : token.expires_at === null ? 'never' : day(token.expires_at)}
                  </td>
                  <td>{token.last_used_at === null ? 'never' : day(token.last_used_at)}</td>
                  <td className="right">
                    <Button
                      size="small"
                      needs="admin"
                      aria-label={`Revoke the token of ${token.name}`}
                      onClick={() => setLeaving(token)}
                    >
                      Revoke
                    </Button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableScroll>
      )}
      {leaving && <Revoke token={leaving} onClose={() => setLeaving(null)} />}
    </Panel>
  )
}

function Revoke({ token, onClose }: { token: AccessToken; onClose: () => void }) {
  const queryClient = useQueryClient()
  const revoke = useMutation({
    mutationFn: () => unwrap(client.DELETE('/api/tokens/{id}', { params: { path: { id: token.id } } })),
    onSuccess: async () => {
      await queryClient.invalidateQueries({ queryKey: accessTokens.queryKey })
      await queryClient.invalidateQueries({ queryKey: ['audit'] })
      onClose()
    },
  })
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      title={`Revoke the token of “${token.name}”?`}
      description="Whoever uses it is out within seconds, in browsers too. It cannot be brought back."
    >
      <ErrorNotice error={revoke.error} />
      <div className="row">
        <Button kind="primary" disabled={revoke.isPending} onClick={() => revoke.mutate()}>
          Revoke it
        </Button>
        <Button onClick={onClose}>Keep it</Button>
      </div>
    </Dialog>
  )
}
