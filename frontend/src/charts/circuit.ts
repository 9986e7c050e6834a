/** The circuit for graph and table: nodes by name, the edges between them, and the layout. */
import type { Circuit } from '@/api/types'
import { shortSite } from '@/api/words'

export type Via = Circuit['vias'][number]
export const OUT = 'output'
export const VIA_WORDS: Record<Via, string> = {
  residual: 'residual stream',
  neurons: 'neurons',
  attention: 'attention',
  gate: 'gate',
  query: 'query',
  key: 'key',
}
const STEERING: Via[] = ['gate', 'query', 'key']
export const steers = (via: Via) => STEERING.includes(via)

export interface Node {
  /** `<key>@<position>`; `output` for the output. */
  id: string
  /** Its row in the answer's columns; −1 for the output. */
  row: number
  key: string
  site: string
  /** The index of its site in model order; the output is last. */
  depth: number
  position: number
  ci: number
  effect: number
  /** Of a supernode: what it is called, its colour, and the nodes it stands for. */
  group?: { name: string; colour: number; members: Node[] }
}

export interface Edge {
  id: string
  source: Node
  target: Node
  via: Via
  weight: number
  effect: number
}

export interface Graph {
  nodes: Map<string, Node>
  /** The largest effect first. */
  edges: Edge[]
  output: Node
}

export function buildGraph(circuit: Circuit): Graph {
  const { nodes: columns, edges: columnsOfEdges } = circuit
  const rows: Node[] = columns.site.map((s, row) => {
    const site = circuit.sites[s] ?? ''
    const key = `${site}:${columns.component[row]}`
    const position = columns.position[row] ?? 0
    return {
      id: `${key}@${position}`,
      row,
      key,
      site,
      depth: s,
      position,
      ci: columns.ci[row] ?? 0,
      effect: columns.effect[row] ?? 0,
    }
  })
  const output: Node = {
    id: OUT,
    row: -1,
    key: OUT,
    site: OUT,
    depth: circuit.sites.length,
    position: circuit.output.position,
    ci: 1,
    effect: circuit.output.value,
  }
  const edges = columnsOfEdges.source.flatMap((s, i) => {
    const t = columnsOfEdges.target[i] ?? -1
    const source = rows[s]
    const target = t === -1 ? output : rows[t]
    const via = circuit.vias[columnsOfEdges.via[i] ?? 0]
    if (!source || !target || !via) return []
    return [
      {
        id: `${i}`,
        source,
        target,
        via,
        weight: columnsOfEdges.weight[i] ?? 0,
        effect: columnsOfEdges.effect[i] ?? 0,
      },
    ]
  })
  return { nodes: new Map([...rows, output].map((node) => [node.id, node])), edges: summed(edges), output }
}

/** One edge for two nodes and a kind of path: those through the attentions of several layers add up. */
export function summed(edges: Edge[]): Edge[] {
  const merged = new Map<string, Edge>()
  for (const edge of edges) {
    const id = `${edge.source.id}→${edge.target.id}/${edge.via}`
    const before = merged.get(id)
    const [weight, effect] = [edge.weight + (before?.weight ?? 0), edge.effect + (before?.effect ?? 0)]
    merged.set(id, { ...edge, id, weight, effect })
  }
  return [...merged.values()].sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect))
}

/** Below this share of the output, or above its mirror, what is drawn does not explain it. */
const ENOUGH = 0.5

/** How much of the output the nodes write, at its position and through one attention, in logits and as a share. */
export function explained(circuit: Circuit): {
  here: number
  attended: number
  share: number
  little: boolean
} {
  const { value, inputs } = circuit.output
  const [here, attended] = [inputs.here[0] ?? 0, inputs.attended[0] ?? 0]
  const share = value === 0 ? 0 : (here + attended) / value
  return { here, attended, share, little: share < ENOUGH || share > 2 - ENOUGH }
}

/** Every node and edge on a path through this node, up and down the edges drawn. */
export function pathsThrough(edges: Edge[], start: string): { nodes: Set<string>; edges: Set<string> } {
  const nodes = new Set([start])
  const onPath = new Set<string>()
  for (const up of [true, false]) {
    const seen = new Set([start])
    const queue = [start]
    for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
      for (const edge of edges) {
        const [here, next] = up ? [edge.target.id, edge.source.id] : [edge.source.id, edge.target.id]
        if (here !== at) continue
        onPath.add(edge.id)
        nodes.add(next)
        if (!seen.has(next)) {
          seen.add(next)
          queue.push(next)
        }
      }
    }
  }
  return { nodes, edges: onPath }
}

export interface Layout {
  width: number
  height: number
  /** `folded`: the number of tokens without a node in this column; 0 for a single token. */
  columns: { position: number; x: number; width: number; folded: number }[]
  rows: { site: string; name: string; y: number; height: number }[]
  /** Middle and width of every node. */
  places: Map<string, { x: number; y: number; width: number }>
}

export const HEAD = 96
export const NODE = 22
const GAP = 6
const LINE = NODE + 5
const PAD = 9
const TOP = 8
const FOOT = 44
const NARROWEST = 44
const FOLDED = 40
const EDGE = 24
const FOLD_FROM = 3
const CHARACTER = 6.9

/** The room a node's text takes. */
export const nodeWidth = (text: string) => Math.max(28, Math.round(text.length * CHARACTER) + 14)

/**
 * Tokens from left to right, sites from the bottom up. The nodes of a site at a token stand in lines, so that a column is as
 * wide, and a row as high, as what stands in it.
 */
export function layOut(nodes: Node[], length: number, text: (node: Node) => string, room = 0): Layout {
  const cells = cellsOf(nodes, text)
  const used = [...new Map(nodes.map((node) => [node.depth, node.site])).entries()].sort(([a], [b]) => a - b)
  const lines = new Map(
    used.map(([depth]) => [
      depth,
      Math.max(...cells.filter((c) => c.depth === depth).map((c) => c.lines.length)),
    ]),
  )
  const columns = columnsOf(cells, length)
  const last = columns.at(-1)
  const natural = (last ? last.x + last.width : HEAD) - HEAD
  // A short prompt fills the available width.
  const stretch = Math.min(4, Math.max(1, (room - HEAD - EDGE) / Math.max(1, natural)))
  for (const column of columns) {
    column.x = HEAD + (column.x - HEAD) * stretch
    column.width *= stretch
  }
  const heights = used.map(([depth]) => (lines.get(depth) ?? 1) * LINE + 2 * PAD)
  const height = TOP + heights.reduce((sum, one) => sum + one, 0) + FOOT
  let y = height - FOOT
  const rows = used.map(([, site], i) => {
    const size = heights[i] ?? 0
    y -= size
    return { site, name: site === OUT ? 'output' : shortSite(site), y: y + size / 2, height: size }
  })
  const rowOf = new Map(rows.map((row) => [row.site, row.y]))
  const columnOf = new Map(columns.map((column) => [column.position, column]))
  const places: Layout['places'] = new Map()
  for (const cell of cells) {
    const column = columnOf.get(cell.position)
    const middle = (column?.x ?? 0) + (column?.width ?? 0) / 2
    cell.lines.forEach((line, i) => {
      let x = middle - widthOf(line) / 2
      const at = (rowOf.get(cell.site) ?? 0) + (i - (cell.lines.length - 1) / 2) * LINE
      for (const { node, width } of line) {
        places.set(node.id, { x: x + width / 2, y: at, width })
        x += width + GAP
      }
    })
  }
  return { width: HEAD + natural * stretch + EDGE, height, columns, rows, places }
}

interface Cell {
  depth: number
  site: string
  position: number
  lines: { node: Node; width: number }[][]
}

const widthOf = (line: { width: number }[]) => line.reduce((sum, { width }) => sum + width + GAP, -GAP)

/** The nodes by site and token, in lines that make a cell about as wide as high. */
function cellsOf(nodes: Node[], text: (node: Node) => string): Cell[] {
  const cells = new Map<string, Node[]>()
  for (const node of nodes) {
    const cell = `${node.depth}/${node.position}`
    cells.set(cell, [...(cells.get(cell) ?? []), node])
  }
  return [...cells.values()].flatMap((members) => {
    const first = members[0]
    if (!first) return []
    members.sort((a, b) => a.key.localeCompare(b.key, undefined, { numeric: true }))
    const each = members.length < 3 ? members.length : Math.ceil(Math.sqrt(members.length / 2))
    const boxes = members.map((node) => ({ node, width: nodeWidth(text(node)) }))
    const lines = Array.from({ length: Math.ceil(boxes.length / each) }, (_, i) =>
      boxes.slice(i * each, (i + 1) * each),
    )
    return [{ depth: first.depth, site: first.site, position: first.position, lines }]
  })
}

/** A column for every token, as wide as its widest cell; tokens without a node are narrow, and folded where several follow. */
function columnsOf(cells: Cell[], length: number): Layout['columns'] {
  const widest = Array.from({ length }, () => 0)
  for (const { position, lines } of cells)
    widest[position] = Math.max(widest[position] ?? 0, ...lines.map(widthOf))
  let x = HEAD
  const columns: Layout['columns'] = []
  for (let position = 0; position < length; ) {
    const size = widest[position] ?? 0
    let end = position + 1
    while (size === 0 && end < length && widest[end] === 0) end += 1
    const folds = end - position >= FOLD_FROM
    const width = folds ? FOLDED : size === 0 ? NARROWEST : Math.max(NARROWEST, size + 20)
    columns.push({ position, x, width, folded: folds ? end - position : 0 })
    x += width
    position = folds ? end : position + 1
  }
  return columns
}
