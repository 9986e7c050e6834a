import { describe, expect, it } from 'vitest'
import { ApiError } from '@/api/client'
import { mustSignIn, validateSignIn } from './session'

describe('the way back from the sign-in page', () => {
  it.each(['/', '/d/tiny/workbench?p=a', '/f/x'])('leads to %s of this site', (to) => {
    expect(validateSignIn({ to })).toEqual({ to })
  })
  it.each([
    undefined,
    '//evil.example',
    '/\\evil.example',
    'https://evil.example',
    'javascript:alert(1)',
    '/sign-in?to=/',
  ])('never leads to %s', (to) => {
    expect(validateSignIn({ to })).toEqual({ to: '/' })
  })
})

describe('a request that was refused', () => {
  const refused = new ApiError('sign_in_needed', 'Sign in.', 401)
  const asks = (role: 'read' | null, public_findings: boolean, path: string, error: unknown = refused) =>
    mustSignIn(error, path, async () => ({
      name: '',
      role,
      by: role === null ? null : 'session',
      public_findings,
    }))
  it('leads to the sign-in page, but not from there', async () => {
    expect(await asks(null, false, '/findings')).toBe(true)
    expect(await asks(null, false, '/f/x')).toBe(true)
    expect(await asks(null, false, '/sign-in')).toBe(false)
  })
  it('leaves a public finding open', async () => {
    expect(await asks(null, true, '/f/x')).toBe(false)
    expect(await asks(null, true, '/findings')).toBe(true)
  })
  it('leads nowhere for whom the server knows, or for another reason', async () => {
    expect(await asks('read', false, '/jobs')).toBe(false)
    expect(await asks(null, false, '/jobs', new ApiError('role_too_small', 'No.', 403))).toBe(false)
  })
})
