import createClient from 'openapi-fetch'
import { ROOT } from './root'
import type { paths } from './schema'

export const client = createClient<paths>({ baseUrl: ROOT })

/** Every failure of a call, the network's included: `message` is a plain sentence that can be shown as it is. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly status: number,
    readonly details: Record<string, unknown> | null = null,
  ) {
    super(message)
    this.name = 'ApiError'
  }
}

interface Answer<T> {
  data?: T
  error?: unknown
  response: Response
}

/** The data of an answer, or an `ApiError`. An aborted call stays an abort, so that the query layer can drop it. */
export async function unwrap<T>(call: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>
  try {
    answer = await call
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause
    throw new ApiError('offline', 'The server does not respond. Check that it is running, then try again.', 0)
  }
  if (answer.response.ok && (answer.data !== undefined || answer.response.status === 204))
    return answer.data as T
  throw readError(answer.error, answer.response.status)
}

export function readError(body: unknown, status: number): ApiError {
  if (typeof body === 'object' && body !== null && 'message' in body && typeof body.message === 'string') {
    const { code, details } = body as { code?: string; details?: Record<string, unknown> | null }
    return new ApiError(code ?? 'error', body.message, status, details ?? null)
  }
  return new ApiError(
    'unreadable',
    `The server answered with status ${status} and no explanation. Try again; if it persists, see the server’s log.`,
    status,
  )
}

/** The sentence to show for anything thrown. */
export function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : 'Something went wrong, without a message.'
}

/** A request body. The generated types call a field with a default required; the server fills it in when it is left out. */
export function withDefaults<T>(body: Partial<T>): T {
  return body as T
}
