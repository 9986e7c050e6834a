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
        id: `${source.id}→${target.id}/${via}`,
        source,
        target,
        via,
        weight: columnsOfEdges.weight[i] ?? 0,
        effect: columnsOfEdges.effect[i] ?? 0,
      },
    ]
  })
  return { nodes: new Map([...rows, output].map((node) => [node.id, node])), edges, output }
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
  rows: { site: string; name: string; y: number }[]
  places: Map<string, { x: number; y: number }>
}

export const HEAD = 96
const STEP = 26
const ROW = 30
const TOP = 18
const FOOT = 46
const NARROWEST = 46
const FOLDED = 40
const EDGE = 30
const SHIFT = 13
const FOLD_FROM = 3

/** Tokens from left to right, sites from the bottom up; columns without nodes are narrow. */
export function layOut(nodes: Node[], length: number, room = 0): Layout {
  const used = [...new Map(nodes.map((node) => [node.depth, node.site])).entries()].sort(([a], [b]) => a - b)
  const height = TOP + used.length * ROW + FOOT
  const rows = used.map(([, site], i) => ({
    site,
    name: site === OUT ? 'output' : shortSite(site),
    y: height - FOOT - i * ROW - ROW / 2,
  }))
  const yOf = new Map(rows.map((row) => [row.site, row.y]))
  const order = new Map(rows.map((row, i) => [row.site, i]))
  const cells = new Map<string, Node[]>()
  for (const node of nodes) {
    const cell = `${node.depth}/${node.position}`
    cells.set(cell, [...(cells.get(cell) ?? []), node])
  }
  const most = Array.from({ length }, () => 0)
  for (const cell of cells.values()) {
    const position = cell[0]?.position ?? 0
    most[position] = Math.max(most[position] ?? 0, cell.length)
  }
  let x = HEAD
  const columns: Layout['columns'] = []
  for (let position = 0; position < length; ) {
    const count = most[position] ?? 0
    let end = position + 1
    while (count === 0 && end < length && most[end] === 0) end += 1
    const folds = end - position >= FOLD_FROM
    const last = folds ? end : position + 1
    const width = folds
      ? FOLDED
      : count === 0
        ? NARROWEST
        : Math.max(NARROWEST + 26, count * STEP + 2 * SHIFT + 20)
    columns.push({ position, x, width, folded: folds ? end - position : 0 })
    x += width
    position = last
  }
  // A short prompt fills the available width.
  const stretch = Math.min(2.2, Math.max(1, (room - HEAD - EDGE) / Math.max(1, x - HEAD)))
  for (const column of columns) {
    column.x = HEAD + (column.x - HEAD) * stretch
    column.width *= stretch
  }
  const width = HEAD + (x - HEAD) * stretch + EDGE
  const at = new Map(columns.map((column) => [column.position, column]))
  const places = new Map<string, { x: number; y: number }>()
  for (const cell of cells.values()) {
    cell.sort((a, b) => a.key.localeCompare(b.key, undefined, { numeric: true }))
    cell.forEach((node, i) => {
      const column = at.get(node.position)
      const middle = (column?.x ?? 0) + (column?.width ?? 0) / 2
      // Every other site is shifted a little, so that an edge to the next is visible.
      const aside = node.id === OUT ? 0 : ((order.get(node.site) ?? 0) % 2 === 0 ? -1 : 1) * SHIFT
      places.set(node.id, {
        x: middle + aside + (i - (cell.length - 1) / 2) * STEP,
        y: yOf.get(node.site) ?? 0,
      })
    })
  }
  return { width, height, columns, rows, places }
}
