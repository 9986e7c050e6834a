/** What is on screen as Python that computes it again, written by the server. */

import { client, unwrap } from './client'
import type { CodeRequest } from './types'

export type CodeKind = 'py' | 'ipynb'

export function codeOfScreen(id: string, body: CodeRequest, kind: CodeKind): Promise<string> {
  const params = { path: { id, kind } }
  return unwrap(client.POST('/api/decompositions/{id}/code.{kind}', { params, body, parseAs: 'text' }))
}

export function codeOfFinding(slug: string, kind: CodeKind): Promise<string> {
  const params = { path: { slug, kind } }
  return unwrap(client.GET('/api/findings/{slug}.{kind}', { params, parseAs: 'text' }))
}
