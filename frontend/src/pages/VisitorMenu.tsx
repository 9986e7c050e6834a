/** Who is signed in, what they may do, and the way out; nothing where everyone may do everything. */
import { useMutation, useQueryClient } from '@tanstack/react-query'
import { Link, useRouter } from '@tanstack/react-router'
import { client, unwrap } from '@/api/client'
import { ROLE_WORDS, useSession } from '@/state/session'
import { Button } from '@/ui/controls'
import { ErrorNotice, Popover } from '@/ui/surfaces'

export function VisitorMenu() {
  const session = useSession()
  const router = useRouter()
  const queryClient = useQueryClient()
  const signOut = useMutation({
    mutationFn: () => unwrap(client.DELETE('/api/session')),
    onSuccess: () => {
      queryClient.clear()
      return router.navigate({ to: '/sign-in', search: { to: '/' } })
    },
  })
  if (!session || session.by === 'open') return null
  if (session.role === null) {
    return (
      <Link to="/sign-in" search={{ to: router.state.location.href }} className="btn quiet">
        Sign in
      </Link>
    )
  }
  return (
    <Popover label="Your access" trigger={<Button kind="quiet">{session.name}</Button>}>
      <p>
        <b>{session.name}</b> <span className="badge">{session.role}</span>
      </p>
      <p className="small soft">You may {ROLE_WORDS[session.role]}.</p>
      {session.role === 'admin' && (
        <Link to="/access" className="btn small">
          Who has access
        </Link>
      )}
      {session.by === 'session' && (
        <Button size="small" disabled={signOut.isPending} onClick={() => signOut.mutate()}>
          Sign out
        </Button>
      )}
      <ErrorNotice error={signOut.error} />
    </Popover>
  )
}
