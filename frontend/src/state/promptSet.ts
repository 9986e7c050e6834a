/**
 * A set of prompts under one basket. Its address:
 *
 *   q   a prompt, and its answer after `=>` (repeated)      a    the basket, as on the workbench
 *   sort, dir   order of the table
 */
import type { Comparison, OutputShift, PromptData } from '@/api/types'
import { type BasketEntry, decodeEntry } from './basket'
import { noteProblems } from './problems'
import { decodePrompt, encodePrompt, type PromptSpec } from './prompts'
import { clip, SearchReader } from './search'
import { logChange, shiftRows } from './shift'

export const SET_SORTS = ['prompt', 'before', 'after', 'dlogp', 'kl'] as const
export type SetSort = (typeof SET_SORTS)[number]
export const MOST_IN_SET = 200
const ARROW = '=>'
const RESAMPLES = 2000

export interface PromptSetSearch {
  q?: string[]
  a?: string[]
  sort?: SetSort
  dir?: 'asc' | 'desc'
}

export interface SetPrompt {
  spec: PromptSpec
  /** The token measured, its leading space kept; null: the most likely before. */
  answer: string | null
}

export function encodeSetPrompt({ spec, answer }: SetPrompt): string {
  const code = encodePrompt(spec)
  return answer === null && !code.includes(ARROW) ? code : `${code}${ARROW}${answer ?? ''}`
}

export function decodeSetPrompt(code: string): SetPrompt | null {
  const at = code.lastIndexOf(ARROW)
  const spec = decodePrompt(at < 0 ? code : code.slice(0, at))
  if (!spec || spec.text === '') return null
  return { spec, answer: at < 0 ? null : code.slice(at + ARROW.length) || null }
}

/** Prompts of a file as prompts of a set. */
export const ofFile = (items: PromptData[], bos: boolean): SetPrompt[] =>
  items.map(({ text, answer }) => ({ spec: { text, bos }, answer: answer ?? null }))

export function readPromptSet(raw: Record<string, unknown>): {
  search: PromptSetSearch
  problems: string[]
} {
  const read = new SearchReader(raw)
  const keep = (name: 'q' | 'a', valid: (code: string) => boolean, what: string) => {
    const codes = read.all(name).filter((code) => {
      if (valid(code)) return true
      read.problems.push(`“${name}=${clip(code)}” is not ${what}. It was left out.`)
      return false
    })
    if (codes.length > MOST_IN_SET)
      read.problems.push(`Only the first ${MOST_IN_SET} of ${codes.length} values of “${name}” are used.`)
    return codes.length > 0 ? codes.slice(0, MOST_IN_SET) : undefined
  }
  const search = {
    q: keep('q', (code) => decodeSetPrompt(code) !== null, 'a prompt'),
    a: keep('a', (code) => decodeEntry(code) !== null, 'a component or group'),
    sort: read.choice('sort', SET_SORTS),
    dir: read.choice('dir', ['asc', 'desc']),
  }
  return { search, problems: read.problems }
}

export function validatePromptSet(raw: Record<string, unknown>): PromptSetSearch {
  const { search, problems } = readPromptSet(raw)
  noteProblems('prompts', problems)
  return search
}

export const promptsOfSet = (search: PromptSetSearch): SetPrompt[] =>
  (search.q ?? []).flatMap((code) => decodeSetPrompt(code) ?? [])
export const basketOfSet = (search: PromptSetSearch): BasketEntry[] =>
  (search.a ?? []).flatMap((code) => decodeEntry(code) ?? [])

export interface SetRow {
  index: number
  token: string
  before: number
  after: number
  /** Change of log p of the token, nats. */
  change: number
  kl: number
}

/** One prompt's row: its answer, or the most likely token before, with and without the basket. */
export function rowOf(
  index: number,
  answer: string | null,
  found: Comparison['prompts'][number],
): SetRow | null {
  const shift = found.conditions.find((one) => one.condition === 'A')?.positions[0]
  if (!shift) return null
  const rows = shiftRows(shift)
  const named: OutputShift | undefined =
    answer === null
      ? rows.find((row) => row.baseline.rank === 1)
      : (shift.watched.find((row) => row.token === answer) ?? rows.find((row) => row.token === answer))
  if (!named) return null
  return {
    index,
    token: named.token,
    before: named.baseline.probability,
    after: named.ablated.probability,
    change: logChange(named),
    kl: shift.kl,
  }
}

export interface Summary {
  prompts: number
  mean: number
  /** Where 95 % of the means of resampled prompts lie; null with one prompt. */
  interval: [number, number] | null
  worst: SetRow
  /** Prompts whose token loses at least a tenth of its probability. */
  falls: number
}

/** Mean change of log p over the prompts, with its bootstrap interval. Drawn from a fixed seed, so that a link says the same. */
export function summarise(rows: SetRow[]): Summary | null {
  const [first] = rows
  if (!first) return null
  const changes = rows.map((row) => row.change)
  const mean = average(changes)
  const draw = seeded(1)
  const means = Array.from({ length: RESAMPLES }, () =>
    average(changes.map(() => changes[Math.floor(draw() * changes.length)] ?? 0)),
  ).sort((a, b) => a - b)
  const at = (share: number) => means[Math.round(share * (RESAMPLES - 1))] ?? mean
  return {
    prompts: rows.length,
    mean,
    interval: rows.length > 1 ? [at(0.025), at(0.975)] : null,
    worst: rows.reduce((low, row) => (row.change < low.change ? row : low), first),
    falls: rows.filter((row) => row.after < 0.9 * row.before).length,
  }
}

const average = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

/** Numbers from 0 to 1 (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
