import { useMutation, useQueryClient } from '@tanstack/react-query'
import { Link, useRouter, useSearch } from '@tanstack/react-router'
import { useState } from 'react'
import { client, unwrap } from '@/api/client'
import { at } from '@/api/root'
import { useTitle } from '@/state/hooks'
import { useSession } from '@/state/session'
import { Button, Field } from '@/ui/controls'
import { ErrorNotice } from '@/ui/surfaces'

export function SignInPage() {
  useTitle('Sign in')
  const { to } = useSearch({ from: '/sign-in' })
  const [token, setToken] = useState('')
  const router = useRouter()
  const queryClient = useQueryClient()
  const signIn = useMutation({
    mutationFn: () => unwrap(client.POST('/api/session', { body: { token: token.trim() } })),
    onSuccess: async () => {
      await queryClient.resetQueries()
      router.history.replace(at(to))
    },
  })
  if (useSession()?.by === 'open') {
    return (
      <div className="page sign-in">
        <h1>Nobody signs in here</h1>
        <p className="lead">This server is open: whoever reaches it may do everything.</p>
        <Link to="/">To the decompositions</Link>
      </div>
    )
  }
  return (
    <div className="page sign-in">
      <h1>Sign in</h1>
      <p className="lead">
        This server is for people with an access token. Whoever runs it can make one for you.
      </p>
      <form
        className="sign-in-form"
        onSubmit={(event) => {
          event.preventDefault()
          signIn.mutate()
        }}
      >
        <Field label="Access token">
          {(id) => (
            <input
              id={id}
              className="input mono"
              type="password"
              autoComplete="current-password"
              required
              maxLength={500}
              value={token}
              onChange={(event) => setToken(event.target.value)}
            />
          )}
        </Field>
        <ErrorNotice error={signIn.error} />
        <Button type="submit" kind="primary" disabled={signIn.isPending || token.trim() === ''}>
          {signIn.isPending ? 'Signing in…' : 'Sign in'}
        </Button>
      </form>
    </div>
  )
}
