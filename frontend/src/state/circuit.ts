/**
 * The circuit's address. Defaults are left out of it.
 *
 *   p      the prompt                              t     CI from which a component is a node
 *   at     the position explained, −1 the last     e     the number of edges drawn
 *   tok, vs  the token explained, and the one it is compared with
 *   pin    a pinned node, `<key>@<position>` (repeated)   sel   the pinned node whose card is open
 *   mlp    `hide`: no edges inside an MLP          sort, dir   order of the list
 *   g      a supernode, `<colour>~<name>~<node>,<node>` (repeated)
 *   note   `<node>~<text>`, or `<text>` of a supernode after `~<name>~` (repeated)
 */
import { noteProblems } from './problems'
import { decodePrompt } from './prompts'
import { clip, SearchReader } from './search'

export const EDGE_SORTS = ['effect', 'weight', 'source', 'target', 'via'] as const
export type EdgeSort = (typeof EDGE_SORTS)[number]
export const EDGES = 60
export const MOST_EDGES = 400
export const MOST_PINS = 40
export const MOST_SUPERNODES = 24
export const MOST_NOTES = 40
export const NAME_LENGTH = 40
export const COLOURS = 6
export const NOTE_LENGTH = 300

/** Several nodes drawn as one. */
export interface Supernode {
  name: string
  /** From 0 to `COLOURS` − 1. */
  colour: number
  nodes: string[]
}

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
  g?: string[]
  note?: string[]
  sort?: EdgeSort
  dir?: 'asc' | 'desc'
}

const NODE = /^[A-Za-z0-9_.]+:\d{1,7}@\d{1,5}$/
const SUPERNODE = /^~[^~]{1,120}$/

/** In an address a name is written without the signs that separate its parts. */
const plainName = (name: string) => name.replace(/[~,]/g, ' ').trim().slice(0, NAME_LENGTH)

export function encodeSupernode({ name, colour, nodes }: Supernode): string {
  return `${colour}~${plainName(name)}~${nodes.join(',')}`
}

export function decodeSupernode(code: string): Supernode | null {
  const match = /^(\d)~([^~,]+)~(.+)$/.exec(code)
  if (!match) return null
  const [, colour = '', name = '', list = ''] = match
  const nodes = list.split(',')
  if (Number(colour) >= COLOURS || name.length > NAME_LENGTH || !nodes.every((node) => NODE.test(node)))
    return null
  return { name, colour: Number(colour), nodes }
}

export function supernodesOf(search: CircuitSearch): Supernode[] {
  return (search.g ?? []).flatMap((code) => decodeSupernode(code) ?? [])
}

/** A free name: the one asked for, or with a number after it. */
export function freeName(wanted: string, taken: Supernode[]): string {
  const name = plainName(wanted) || 'group'
  const names = new Set(taken.map((one) => one.name))
  for (let n = 1; ; n += 1) {
    const candidate = n === 1 ? name : `${name.slice(0, NAME_LENGTH - 3)} ${n}`
    if (!names.has(candidate)) return candidate
  }
}

/** Notes by the id of their node. */
export function notesOf(search: CircuitSearch): Map<string, string> {
  return new Map(
    (search.note ?? []).flatMap((code) => {
      const at = code.indexOf('~', 1)
      return at > 0 ? [[code.slice(0, at), code.slice(at + 1)] as const] : []
    }),
  )
}

/** The address's notes with one of them changed; an empty text takes it away. */
export function withNote(search: CircuitSearch, id: string, text: string): string[] | undefined {
  const notes = notesOf(search)
  notes.delete(id)
  if (text.trim() !== '') notes.set(id, text.trim().slice(0, NOTE_LENGTH))
  const codes = [...notes].map(([node, note]) => `${node}~${note}`)
  return codes.length > 0 ? codes : undefined
}

export function readCircuit(raw: Record<string, unknown>): { search: CircuitSearch; problems: string[] } {
  const read = new SearchReader(raw)
  const node = (name: string, code: string) => {
    if (NODE.test(code) || SUPERNODE.test(code)) return true
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
  const groups = read.all('g').filter((code) => {
    if (decodeSupernode(code)) return true
    read.problems.push(
      `“g=${clip(code)}” is not a group of nodes; one looks like “0~name~<node>,<node>”. It was left out.`,
    )
    return false
  })
  if (groups.length > MOST_SUPERNODES)
    read.problems.push(`Only the first ${MOST_SUPERNODES} of ${groups.length} groups are shown.`)
  const notes = read
    .all('note')
    .filter((code) => code.length <= NOTE_LENGTH + 330 && code.indexOf('~', 1) > 0)
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
    g: groups.length > 0 ? groups.slice(0, MOST_SUPERNODES) : undefined,
    note: notes.length > 0 ? notes.slice(0, MOST_NOTES) : undefined,
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
