/** Sweeps: the rows of the table, and their order. */
import type { SweepItem } from '@/api/types'
import type { Rank } from './lab'

export interface SweepRow {
  number: number
  key: string | null
  strength: number
  kl: number
  /** Change of the token's probability. */
  watched: number | null
  /** Its probability now. */
  probability: number | null
  /** Change of the logit difference. */
  contrast: number | null
  /** Change of the token's cross-entropy, nats. */
  ce: number | null
}

export function sweepRow(item: SweepItem, before: number | null): SweepRow {
  const now = item.watched[0]?.probability ?? null
  return {
    number: item.number,
    key: item.key,
    strength: item.strength,
    kl: item.kl,
    probability: now,
    watched: now === null || before === null ? null : now - before,
    contrast: item.contrast ?? null,
    ce: item.ce ?? null,
  }
}

/** The largest absolute change first. */
export function rankRows(rows: SweepRow[], by: Rank): SweepRow[] {
  const size = (row: SweepRow) => Math.abs(row[by] ?? 0)
  return [...rows].sort((a, b) => size(b) - size(a) || a.number - b.number)
}

/** Seconds left; null before there is enough to estimate from. */
export function timeLeft(done: number, total: number, elapsedMs: number): number | null {
  if (done === 0 || elapsedMs < 700) return null
  return ((total - done) / done) * (elapsedMs / 1000)
}
