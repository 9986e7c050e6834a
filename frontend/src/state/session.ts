/** Who is signed in, and the way to the sign-in page and back. */
import { useQuery } from '@tanstack/react-query'
import { ApiError } from '@/api/client'
import { sessionQuery } from '@/api/session'
import type { Role, Visitor } from '@/api/types'

/** What each role is for, in words. */
export const ROLE_WORDS: Record<Role, string> = {
  read: 'look, and try things on the workbench',
  write: 'look, and store findings, labels, collections and jobs',
  admin: 'do everything, delete included',
}

export interface SignInSearch {
  /** The page that asked for it, to return to. */
  to: string
}

/** A path of this site only, so that a link to the sign-in page cannot lead elsewhere. */
export function validateSignIn(raw: Record<string, unknown>): SignInSearch {
  const to = String(raw.to ?? '/')
  return { to: /^\/(?![/\\])/.test(to) && !to.startsWith('/sign-in') ? to : '/' }
}

export function useSession() {
  return useQuery(sessionQuery).data
}

/** Whether an error means that somebody has to sign in first. A finding may be public: it opens without. */
export async function mustSignIn(
  error: unknown,
  path: string,
  ask: () => Promise<Visitor>,
): Promise<boolean> {
  if (!(error instanceof ApiError && error.status === 401) || path.endsWith('/sign-in')) return false
  const session = await ask()
  return session.role === null && !(session.public_findings && /\/f\/[^/]+$/.test(path))
}
