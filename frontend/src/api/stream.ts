/** NDJSON: one JSON value per line, parsed as it arrives. */
import { ApiError } from './client'

/** The values of a body, line by line. Raises ApiError where the connection breaks or a line is not JSON. */
export async function* ndjson<T>(body: ReadableStream<Uint8Array>): AsyncGenerator<T> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  try {
    for (;;) {
      const { value, done } = await reader.read()
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true })
      const lines = rest.split('\n')
      rest = done ? '' : (lines.pop() ?? '')
      for (const line of lines) if (line.trim() !== '') yield JSON.parse(line) as T
      if (done) return
    }
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause
    throw new ApiError(
      'cut_off',
      'The connection broke before the end. The rows shown are valid; run it again for the rest.',
      0,
    )
  } finally {
    // Cancelling stops the computation on the server.
    void reader.cancel().catch(() => undefined)
  }
}
