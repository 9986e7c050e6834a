/** A running sweep. Its rows stay when it is cancelled or fails; leaving the page stops it, on the server too. */
import { useCallback, useEffect, useRef, useState } from 'react'
import { ApiError, client, unwrap } from '@/api/client'
import { ndjson } from '@/api/stream'
import type { Provenance, SweepFrame, SweepRequest } from '@/api/types'
import type { SweepKind } from './lab'
import { type SweepRow, sweepRow } from './sweep'

/** The settings of the sweep, for display beside its rows. */
export interface SweepAsked {
  kind: SweepKind
  prompt: string
  place: string
  token: string | null
  contrast: [string, string] | null
  /** Identifies the settings. */
  key: string
}

export interface SweepRun {
  asked: SweepAsked
  state: 'running' | 'done' | 'cancelled' | 'failed'
  rows: SweepRow[]
  /** The token's probability with nothing suppressed. */
  before: number | null
  done: number
  total: number
  elapsedMs: number
  error: unknown
  provenance: Provenance | null
}

export interface Sweep {
  run: SweepRun | null
  start: (asked: SweepAsked, request: SweepRequest) => void
  cancel: () => void
}

/** Rows are rendered at this interval, however fast they arrive. */
const DRAW_MS = 120

export function useSweep(id: string): Sweep {
  const [run, setRun] = useState<SweepRun | null>(null)
  const current = useRef<AbortController | null>(null)
  useEffect(() => () => current.current?.abort(), [])

  const cancel = useCallback(() => {
    current.current?.abort()
    setRun((old) => (old?.state === 'running' ? { ...old, state: 'cancelled' } : old))
  }, [])

  const start = useCallback(
    (asked: SweepAsked, request: SweepRequest) => {
      current.current?.abort()
      const controller = new AbortController()
      current.current = controller
      let live: SweepRun = {
        asked,
        state: 'running',
        rows: [],
        before: null,
        done: 0,
        total: 0,
        elapsedMs: 0,
        error: null,
        provenance: null,
      }
      let drawn = 0
      const put = (next: Partial<SweepRun>, now = false) => {
        live = { ...live, ...next }
        if (controller.signal.aborted || (!now && performance.now() - drawn < DRAW_MS)) return
        drawn = performance.now()
        setRun(live)
      }
      const read = async () => {
        put({}, true)
        const body = await unwrap(
          client.POST('/api/decompositions/{id}/sweeps', {
            params: { path: { id } },
            body: request,
            parseAs: 'stream',
            signal: controller.signal,
          }),
        )
        const stream = body as unknown as ReadableStream<Uint8Array>
        for await (const frame of ndjson<SweepFrame>(stream)) {
          const { done, total, elapsed_ms: elapsedMs } = frame
          if (frame.event === 'error')
            throw new ApiError(frame.code ?? 'error', frame.message ?? 'The sweep failed.', 500)
          const before = frame.baseline?.[0]?.probability ?? live.before
          const rows = (frame.items ?? []).map((item) => sweepRow(item, before))
          put({
            done,
            total,
            elapsedMs,
            before,
            rows: rows.length > 0 ? [...live.rows, ...rows] : live.rows,
            provenance: frame.provenance ?? live.provenance,
          })
          if (frame.event === 'end') put({ state: 'done' }, true)
        }
        if (live.state === 'running')
          throw new ApiError('cut_off', 'The answer ended before the sweep did. Run it again.', 0)
      }
      read().catch((error: unknown) => put({ state: 'failed', error }, true))
    },
    [id],
  )
  return { run, start, cancel }
}
