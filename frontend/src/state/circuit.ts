/**
 * The circuit's address. Defaults are left out of it.
 *
 *   p      the prompt                              t     CI from which a component is a node
 *   at     the position explained, −1 the last     e     the number of edges drawn
 *   tok, vs  the token explained, and the one it is compared with
 *   pin    a pinned node, `<key>@<position>` (repeated)   sel   the pinned node whose card is open
 *   mlp    `hide`: no edges inside an MLP          sort, dir   order of the list
 */
import { noteProblems } from './problems'
import { decodePrompt } from './prompts'
import { clip, SearchReader } from './search'

export const EDGE_SORTS = ['effect', 'weight', 'source', 'target', 'via'] as const
export type EdgeSort = (typeof EDGE_SORTS)[number]
export const EDGES = 60
export const MOST_EDGES = 400
export const MOST_PINS = 12

export interface CircuitSearch {
  p?: string
  t?: number
  at?: number
  tok?: string
  vs?: string
  e?: number
  pin?: string[]
  sel?: string
  mlp?: 'hide'
  sort?: EdgeSort
  dir?: 'asc' | 'desc'
}

const NODE = /^[A-Za-z0-9_.]+:\d{1,7}@\d{1,5}$/

export function readCircuit(raw: Record<string, unknown>): { search: CircuitSearch; problems: string[] } {
  const read = new SearchReader(raw)
  const node = (name: string, code: string) => {
    if (NODE.test(code)) return true
    read.problems.push(
      `“${name}=${clip(code)}” is not a node; one looks like “model.layers.0.mlp.down_proj:3@2”. It was left out.`,
    )
    return false
  }
  const prompt = read.text('p', 20_000)
  const readable = prompt === undefined || decodePrompt(prompt) !== null
  if (!readable)
    read.problems.push(
      `“p=${clip(prompt ?? '')}” is not a prompt; token ids look like “~12.45.7”. It was left out.`,
    )
  const pins = read.all('pin').filter((code) => node('pin', code))
  if (pins.length > MOST_PINS)
    read.problems.push(`Only the first ${MOST_PINS} of ${pins.length} pinned nodes are shown.`)
  const chosen = read.text('sel')
  const edges = read.number('e', { min: 1, max: MOST_EDGES, whole: true })
  const at = read.number('at', { min: -1, max: 100_000, whole: true })
  const search: CircuitSearch = {
    p: readable ? prompt : undefined,
    t: read.number('t', { min: 0, max: 1 }),
    at: at === -1 ? undefined : at,
    tok: read.text('tok', 200),
    vs: read.text('vs', 200),
    e: edges === EDGES ? undefined : edges,
    pin: pins.length > 0 ? [...new Set(pins)].slice(0, MOST_PINS) : undefined,
    sel: chosen !== undefined && node('sel', chosen) ? chosen : undefined,
    mlp: read.choice('mlp', ['hide']),
    sort: read.choice('sort', EDGE_SORTS),
    dir: read.choice('dir', ['asc', 'desc']),
  }
  return { search, problems: read.problems }
}

export function validateCircuit(raw: Record<string, unknown>): CircuitSearch {
  const { search, problems } = readCircuit(raw)
  noteProblems('circuit', problems)
  return search
}
