/** The comparison of conditions: the rows of its table, and its sentences. */
import type { ConditionResult, OutputShift, PromptComparison } from '@/api/types'
import { nats, probability, signed, visible } from '@/api/words'
import type { CompareSort, Condition, Measure } from './workbench'

type Name = ConditionResult['condition']
export const WIRE: Record<Condition, Name> = { none: 'none', a: 'A', b: 'B', ab: 'A+B' }
/** Smaller changes than a tenth of a probability count as no change, as everywhere. */
const STAYS = 0.1
/** Below this many logits of interaction, A and B are described as adding up. */
const ADDS_UP = 0.1

export interface Cell {
  /** The measure itself; null where the comparison does not include it. */
  value: number | null
  /** Its change from `none`. */
  change: number | null
  kl: number
}

export interface CompareRow {
  id: string
  /** Which prompt of the page, from 0. */
  prompt: number
  token: string
  tokenId: number
  /** Whether this is the answer of the prompt and not only a watched token. */
  own: boolean
  cells: Partial<Record<Condition, Cell>>
  interaction: number | null
}

export interface Asked {
  /** Index on the page. */
  prompt: number
  /** The answer of this prompt. */
  tokenId: number
}

export interface RowsOptions {
  measure: Measure
  /** Ids of the two tokens of the logit difference. */
  contrast: [number, number] | null
  /** Whether watched tokens have rows of their own. */
  watched: ReadonlySet<number> | null
}

const logOf = (p: number) => Math.log(Math.max(p, 1e-300))

function outputs(result: ConditionResult): Map<number, OutputShift> {
  const place = result.positions[0]
  return new Map([...(place?.top ?? []), ...(place?.watched ?? [])].map((row) => [row.token_id, row]))
}

function measureOf(
  rows: Map<number, OutputShift>,
  id: number,
  measure: Measure,
  contrast: [number, number] | null,
  kl: number,
): number | null {
  if (measure === 'kl') return kl
  if (measure === 'difference') {
    const pair = contrast?.map((one) => rows.get(one)?.ablated.logit)
    return pair?.[0] === undefined || pair[1] === undefined ? null : pair[0] - pair[1]
  }
  const output = rows.get(id)?.ablated
  if (!output) return null
  return measure === 'logit'
    ? output.logit
    : measure === 'probability'
      ? output.probability
      : logOf(output.probability)
}

/** A row for each prompt and token: the measure in every condition, and f(A+B) − f(A) − f(B) + f(none). */
export function compareRows(
  comparisons: PromptComparison[],
  asked: Asked[],
  options: RowsOptions,
): CompareRow[] {
  return comparisons.flatMap((comparison, i) => {
    const about = asked[i]
    if (!about) return []
    const results = new Map(comparison.conditions.map((result) => [result.condition, result]))
    const none = results.get('none')
    if (!none) return []
    const watched = none.positions[0]?.watched ?? []
    // KL and a logit difference belong to the prompt, not to a token: one row per prompt.
    const ofPrompt = options.measure === 'kl' || options.measure === 'difference'
    const more = ofPrompt || !options.watched ? [] : [...options.watched].filter((id) => id !== about.tokenId)
    return [about.tokenId, ...more].flatMap((id): CompareRow[] => {
      const token = watched.find((row) => row.token_id === id)?.token
      if (token === undefined) return []
      const cells: CompareRow['cells'] = {}
      let start: number | null = null
      for (const condition of ['none', 'a', 'b', 'ab'] as const) {
        const result = results.get(WIRE[condition])
        const place = result?.positions[0]
        if (!result || !place) continue
        const value = measureOf(outputs(result), id, options.measure, options.contrast, place.kl)
        if (condition === 'none') start = value
        cells[condition] = {
          value,
          change: value === null || start === null ? null : value - start,
          kl: place.kl,
        }
      }
      return [
        {
          id: `${about.prompt} ${id}`,
          prompt: about.prompt,
          token,
          tokenId: id,
          own: id === about.tokenId,
          cells,
          interaction: options.measure === 'kl' ? null : interactionOf(cells),
        },
      ]
    })
  })
}

function interactionOf(cells: CompareRow['cells']): number | null {
  const { none, a, b, ab } = cells
  const all = [none, a, b, ab].map((cell) => cell?.value ?? null)
  if (all.some((value) => value === null)) return null
  const [n = 0, x = 0, y = 0, both = 0] = all as number[]
  return both - x - y + n
}

export function sortRows(rows: CompareRow[], by: CompareSort, dir: 'asc' | 'desc'): CompareRow[] {
  const value = (row: CompareRow): number | null =>
    by === 'prompt'
      ? row.prompt
      : by === 'interaction'
        ? row.interaction
        : (row.cells[by]?.[by === 'none' ? 'value' : 'change'] ?? null)
  const sign = dir === 'asc' ? 1 : -1
  return [...rows].sort((x, y) => {
    const [p, q] = [value(x), value(y)]
    if (p === null || q === null) return Number(p === null) - Number(q === null)
    return sign * (p - q) || x.prompt - y.prompt
  })
}

/** One condition in words: the change of each prompt's answer. For rows measured in probability. */
export function describeCondition(rows: CompareRow[], condition: 'a' | 'b' | 'ab', prompts: number): string {
  const phrases = rows
    .filter((row) => row.own && row.cells[condition])
    .map((row) => {
      const [p, q] = [row.cells.none?.value ?? 0, row.cells[condition]?.value ?? 0]
      const where = prompts > 1 ? ` (${row.prompt + 1})` : ''
      const name = `${visible(row.token)}${where}`
      if (q < p * (1 - STAYS)) return `${name} falls from ${probability(p)} to ${probability(q)}`
      if (q > p * (1 + STAYS)) return `${name} rises from ${probability(p)} to ${probability(q)}`
      return `${name} stays at ${probability(q)}`
    })
  return phrases.join('; ')
}

/** The largest interaction of A and B in logits, in words. */
export function describeInteraction(rows: CompareRow[], prompts: number): string | null {
  const own = rows.filter((row) => row.own && row.interaction !== null)
  const most = own.sort((x, y) => Math.abs(y.interaction ?? 0) - Math.abs(x.interaction ?? 0))[0]
  if (!most) return null
  const size = most.interaction ?? 0
  if (Math.abs(size) < ADDS_UP) return 'A and B add up: no logit interacts by 0.1 or more.'
  const where = prompts > 1 ? ` in prompt ${most.prompt + 1}` : ''
  const more = (most.cells.ab?.change ?? 0) * size > 0 ? 'more' : 'less'
  return `Together they do ${more} than the sum of each: ${signed(size, 2)} logits on ${visible(most.token)}${where}.`
}

/** The text of a cell. */
export function measured(value: number | null, measure: Measure): string {
  if (value === null) return '–'
  if (measure === 'probability') return probability(value)
  if (measure === 'kl') return nats(value)
  return value < 0 ? `−${Math.abs(value).toFixed(2)}` : value.toFixed(2)
}
