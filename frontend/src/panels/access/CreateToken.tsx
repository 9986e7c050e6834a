import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { accessTokens } from '@/api/access'
import { client, unwrap } from '@/api/client'
import type { AccessTokenRequest, NewAccessToken, Role } from '@/api/types'
import { Button, CopyButton, Field, Seg } from '@/ui/controls'
import { Dialog, ErrorNotice } from '@/ui/surfaces'
import './access.css'

const ROLES: { value: Role; label: string }[] = [
  { value: 'read', label: 'read' },
  { value: 'write', label: 'write' },
  { value: 'admin', label: 'admin' },
]
const MAY: Record<Role, string> = {
  read: 'look, and try things on the workbench',
  write: 'also store findings, labels and collections, and start jobs',
  admin: 'also delete, read folders and the hub, and manage tokens',
}

/** A button that makes an access token, and shows it this once. */
export function CreateToken() {
  const [open, setOpen] = useState(false)
  const queryClient = useQueryClient()
  const create = useMutation({
    mutationFn: (body: AccessTokenRequest) => unwrap(client.POST('/api/tokens', { body })),
    onSuccess: async () => {
      await queryClient.invalidateQueries({ queryKey: accessTokens.queryKey })
      await queryClient.invalidateQueries({ queryKey: ['audit'] })
    },
  })
  const close = (next: boolean) => {
    setOpen(next)
    if (!next) create.reset()
  }
  return (
    <>
      <Button kind="primary" size="small" needs="admin" onClick={() => setOpen(true)}>
        New token
      </Button>
      <Dialog open={open} onOpenChange={close} title={create.data ? 'Your new token' : 'New access token'}>
        {create.data ? (
          <Made token={create.data} onClose={() => close(false)} />
        ) : (
          <Form busy={create.isPending} error={create.error} onCreate={create.mutate} />
        )}
      </Dialog>
    </>
  )
}

interface FormProps {
  busy: boolean
  error: unknown
  onCreate: (body: AccessTokenRequest) => void
}

function Form({ busy, error, onCreate }: FormProps) {
  const [name, setName] = useState('')
  const [role, setRole] = useState<Role>('read')
  const [days, setDays] = useState('')
  return (
    <form
      className="token-form"
      onSubmit={(event) => {
        event.preventDefault()
        onCreate({ name: name.trim(), role, days: days === '' ? null : Number(days) })
      }}
    >
      <Field label="Name" hint="whose it is, or what uses it">
        {(id) => (
          <input
            id={id}
            className="input"
            required
            maxLength={60}
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
        )}
      </Field>
      <div className="field">
        <span className="field-label">Role</span>
        <Seg label="Role" value={role} options={ROLES} onChange={setRole} />
        <span className="hint">May {MAY[role]}.</span>
      </div>
      <Field label="Days until it expires" hint="empty: never">
        {(id) => (
          <input
            id={id}
            className="input"
            type="number"
            min={1}
            max={3650}
            value={days}
            onChange={(event) => setDays(event.target.value)}
          />
        )}
      </Field>
      <ErrorNotice error={error} />
      <Button type="submit" kind="primary" disabled={busy || name.trim() === ''}>
        {busy ? 'Making it…' : 'Make the token'}
      </Button>
    </form>
  )
}

function Made({ token, onClose }: { token: NewAccessToken; onClose: () => void }) {
  return (
    <div className="token-form">
      <p>
        For “{token.name}”, role {token.role}. Copy it now: it is not stored, and cannot be shown again.
      </p>
      <Field label="Access token">
        {(id) => (
          <input
            id={id}
            className="input mono"
            readOnly
            value={token.secret}
            onFocus={(event) => event.target.select()}
          />
        )}
      </Field>
      <div className="row">
        <CopyButton text={token.secret} />
        <Button onClick={onClose}>Done</Button>
      </div>
    </div>
  )
}
