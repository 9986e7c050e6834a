/**
 * The workbench's address: everything that is shared with it. Defaults are left out of it.
 *
 *   p     a prompt (repeated)                  row, col  the selected site or layer, the selected position
 *   n     the selected prompt, from 1         show, scale, t, open   how the grid is drawn
 *   rank  what components are ordered by: effect or ci    et   the token whose log p effects are on; left out: the answer
 *   a, b  an entry of basket A or B (repeated) mode, cond   suppress or keep only; which condition is shown
 *   at    output position per prompt, −1 the last     w, k, sort, dir   watched tokens, top k, table order
 *   rem   the remainder, on or off          d     two tokens whose logits are compared (d=first&d=second)
 *   m, cs, cd, all   the table of conditions: its measure, order, and whether watched tokens have rows too
 *   lab   the experiment that is open, with its own settings: see lab.ts     tour   the step of the tour
 */
import type { BasketEntry } from './basket'
import { decodeEntry, MAX_ENTRIES } from './basket'
import { LAB_DEFAULTS, type LabSearch, readLab } from './lab'
import { noteProblems } from './problems'
import { decodePrompt, MAX_PROMPTS, type PromptSpec } from './prompts'
import { clip, SearchReader } from './search'

export const CONDITIONS = ['none', 'a', 'b', 'ab'] as const
export const SHIFT_SORTS = [
  'token',
  'before',
  'after',
  'dp',
  'dlogp',
  'rank',
  'interaction',
  'centred',
] as const
export const MEASURES = ['probability', 'log_probability', 'logit', 'difference', 'kl'] as const
export const COMPARE_SORTS = ['prompt', 'none', 'a', 'b', 'ab', 'interaction'] as const
export const GRID_SHOWS = ['max', 'count', 'effect'] as const
export const RANKINGS = ['effect', 'ci'] as const
export const TOUR_STEPS = 6
export type Condition = (typeof CONDITIONS)[number]
export type GridShow = (typeof GRID_SHOWS)[number]
export type Ranking = (typeof RANKINGS)[number]
export type Measure = (typeof MEASURES)[number]
export type CompareSort = (typeof COMPARE_SORTS)[number]
export type ShiftSort = (typeof SHIFT_SORTS)[number]
export const TOP_K = 10

export interface WorkbenchSearch extends LabSearch {
  p?: string[]
  n?: number
  row?: string
  col?: number
  show?: GridShow
  scale?: 'linear' | 'log'
  rank?: Ranking
  et?: string
  t?: number
  open?: string
  a?: string[]
  b?: string[]
  mode?: 'suppress' | 'keep_only'
  cond?: Condition
  at?: number[]
  w?: string[]
  k?: number
  sort?: ShiftSort
  dir?: 'asc' | 'desc'
  rem?: 'on' | 'off'
  d?: string[]
  m?: Measure
  cs?: CompareSort
  cd?: 'asc' | 'desc'
  all?: 'yes'
  tour?: number
}

const DEFAULTS: Partial<WorkbenchSearch> = {
  n: 1,
  rank: 'effect',
  mode: 'suppress',
  cond: 'none',
  k: TOP_K,
  m: 'probability',
  cs: 'prompt',
  ...LAB_DEFAULTS,
}

/**
 * Every name is in the result, empty or not: the router merges it over the raw address, so a missing name would let the
 * raw value through.
 */
export function readWorkbench(raw: Record<string, unknown>): { search: WorkbenchSearch; problems: string[] } {
  const read = new SearchReader(raw)
  const prompts = read.all('p')
  if (prompts.length > MAX_PROMPTS)
    read.problems.push(`Only the first ${MAX_PROMPTS} of ${prompts.length} prompts are shown.`)
  const good = prompts.slice(0, MAX_PROMPTS).filter((code) => {
    const fits = decodePrompt(code) !== null && code.length <= 20_000
    if (!fits)
      read.problems.push(
        `“p=${clip(code)}” is not a prompt; token ids look like “~12.45.7”. It was left out.`,
      )
    return fits
  })
  const search: WorkbenchSearch = {
    p: good.length > 0 ? good : undefined,
    n: read.number('n', { min: 1, max: MAX_PROMPTS, whole: true }),
    row: read.text('row'),
    col: read.number('col', { min: 0, max: 100_000, whole: true }),
    show: read.choice('show', GRID_SHOWS),
    scale: read.choice('scale', ['linear', 'log']),
    rank: read.choice('rank', RANKINGS),
    et: read.text('et', 80),
    t: read.number('t', { min: 0, max: 1 }),
    open: readOpen(read),
    a: readBasket(read, 'a'),
    b: readBasket(read, 'b'),
    mode: read.choice('mode', ['suppress', 'keep_only']),
    cond: read.choice('cond', CONDITIONS),
    at: read.numbers('at', { min: -1, max: 100_000, whole: true }),
    w: readWatched(read),
    k: read.number('k', { min: 1, max: 50, whole: true }),
    sort: read.choice('sort', SHIFT_SORTS),
    dir: read.choice('dir', ['asc', 'desc']),
    rem: read.choice('rem', ['on', 'off']),
    d: readContrast(read),
    m: read.choice('m', MEASURES),
    cs: read.choice('cs', COMPARE_SORTS),
    cd: read.choice('cd', ['asc', 'desc']),
    all: read.choice('all', ['yes']),
    tour: read.number('tour', { min: 1, max: TOUR_STEPS, whole: true }),
    ...readLab(read),
  }
  return { search: withoutDefaults(search), problems: read.problems }
}

export function validateWorkbench(raw: Record<string, unknown>): WorkbenchSearch {
  const { search, problems } = readWorkbench(raw)
  noteProblems('workbench', problems)
  return search
}

/** The search with every default left empty, so that it stays out of the address. */
export function withoutDefaults(search: WorkbenchSearch): WorkbenchSearch {
  const isDefault = (name: string, value: unknown) =>
    value === DEFAULTS[name as keyof WorkbenchSearch] ||
    ((name === 'a' || name === 'b') && Array.isArray(value) && value.length === 0) ||
    (name === 'at' && Array.isArray(value) && value.every((position) => position === -1))
  return Object.fromEntries(
    Object.entries(search).map(([name, value]) => [name, isDefault(name, value) ? undefined : value]),
  )
}

function readBasket(read: SearchReader, name: 'a' | 'b'): string[] | undefined {
  const codes = read.all(name)
  const good = codes.filter((code) => {
    const entry = decodeEntry(code)
    if (!entry) {
      read.problems.push(
        `“${name}=${clip(code)}” is not a component or a group; a component looks like “model.layers.0.mlp.down_proj:3”, strengths are from −2 to 3. It was left out.`,
      )
    }
    return entry !== null
  })
  if (good.length > MAX_ENTRIES)
    read.problems.push(`Only the first ${MAX_ENTRIES} entries of basket ${name.toUpperCase()} are used.`)
  return good.length > 0 ? good.slice(0, MAX_ENTRIES) : undefined
}

function readOpen(read: SearchReader): string | undefined {
  const value = read.text('open', 1000)
  if (value === undefined || value === 'all' || value === 'none' || /^\d{1,4}(,\d{1,4})*$/.test(value))
    return value
  read.problems.push(
    `“open=${clip(value)}” should be all, none, or layers like 0,3; the default layers are open.`,
  )
  return undefined
}

function readWatched(read: SearchReader): string[] | undefined {
  const tokens = read.all('w')
  if (tokens.length > 32)
    read.problems.push(`Only the first 32 of ${tokens.length} watched tokens are shown.`)
  // One empty `w` means: watch nothing, not even the run's answers.
  return tokens.length > 0 ? tokens.slice(0, 32) : undefined
}

function readContrast(read: SearchReader): string[] | undefined {
  const tokens = read.all('d')
  if (tokens.length === 0) return undefined
  if (tokens.length === 2 && tokens.every((token) => token !== '')) return tokens
  read.problems.push(
    `“d=${clip(tokens.join('&d='))}” is not two tokens; a logit difference needs d=one&d=other.`,
  )
  return undefined
}

export const readPrompts = (search: WorkbenchSearch): PromptSpec[] | null =>
  search.p ? search.p.map((code) => decodePrompt(code)).filter((prompt) => prompt !== null) : null

export const readEntries = (codes: string[] | undefined): BasketEntry[] =>
  (codes ?? []).map((code) => decodeEntry(code)).filter((entry) => entry !== null)

/** Which layers are open: those of the address, else all if the grid is short. */
export function layerOpener(open: string | undefined, siteCount: number): (layer: number) => boolean {
  if (open === 'all' || (open === undefined && siteCount <= 24)) return () => true
  if (open === 'none' || open === undefined) return () => false
  const layers = new Set(open.split(',').map(Number))
  return (layer) => layers.has(layer)
}
