/** The result of an ablation in one sentence, and the rows of its table. */
import type { Ablation, OutputShift, PositionShift } from '@/api/types'

export interface Sentence {
  token: string
  verb: 'falls' | 'rises' | 'stays' | 'is'
  before: number
  after: number
  /** The token that is now the most likely, if it was not before. */
  first: { token: string; probability: number } | null
}

/** A relative change within 10 % counts as staying, as in the run's own tests of selectivity. */
const STAYS = 0.1

/** The sentence for one position. It is about `answer`, or else the most probable token before. */
export function describeShift(
  shift: PositionShift,
  answer: string | null,
  ablated: boolean,
): Sentence | null {
  const rows = shiftRows(shift)
  const subject = subjectOf(shift, answer)
  if (!subject) return null
  const [p, q] = [subject.baseline.probability, subject.ablated.probability]
  const now = rows.find((row) => row.ablated.rank === 1)
  const first = now && now.token_id !== subject.token_id && now.baseline.rank !== 1
  return {
    token: subject.token,
    verb: !ablated ? 'is' : q < p * (1 - STAYS) ? 'falls' : q > p * (1 + STAYS) ? 'rises' : 'stays',
    before: p,
    after: q,
    first: first && ablated ? { token: now.token, probability: now.ablated.probability } : null,
  }
}

/** The subject of a prompt: its answer where the run has one, else the most probable token before. */
export function subjectOf(shift: PositionShift, answer: string | null): OutputShift | null {
  const rows = shiftRows(shift)
  const before = rows.find((row) => row.baseline.rank === 1) ?? rows[0]
  return (answer !== null && rows.find((row) => row.token === answer)) || before || null
}

export interface ShiftRow extends OutputShift {
  watched: boolean
  /** Change of the logit less the mean of all logits; null in findings of before it was recorded. */
  centred: number | null
}

/** Watched tokens and the union of the top k, each token once. */
export function shiftRows(shift: PositionShift): ShiftRow[] {
  const watched = new Set(shift.watched.map((row) => row.token_id))
  const seen = new Set<number>()
  const rows: ShiftRow[] = []
  for (const row of [...shift.top, ...shift.watched]) {
    if (seen.has(row.token_id)) continue
    seen.add(row.token_id)
    const all = shift.mean_logit ? shift.mean_logit.ablated - shift.mean_logit.baseline : null
    const centred = all === null ? null : row.ablated.logit - row.baseline.logit - all
    rows.push({ ...row, watched: watched.has(row.token_id), centred })
  }
  return rows.sort((a, b) => b.baseline.probability - a.baseline.probability)
}

export function shiftAt(ablation: Ablation, position: number): PositionShift | null {
  return ablation.positions.find((shift) => shift.position === position) ?? null
}

/**
 * Interaction of A and B on one token, in logits: the effect of both together minus the sum of each alone.
 * Null where a token is not in all three answers.
 */
export function interaction(
  both: OutputShift,
  a: OutputShift | undefined,
  b: OutputShift | undefined,
): number | null {
  if (!a || !b) return null
  const move = (row: OutputShift) => row.ablated.logit - row.baseline.logit
  return move(both) - move(a) - move(b)
}

/** Change of log p, nats; a probability below 1e-12 counts as that. */
export function logChange({ baseline, ablated }: OutputShift): number {
  const least = 1e-12
  return Math.log(Math.max(ablated.probability, least) / Math.max(baseline.probability, least))
}
