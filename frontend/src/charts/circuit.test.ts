import { describe, expect, it } from 'vitest'
import type { Circuit } from '@/api/types'
import { buildGraph, layOut, OUT, pathsThrough } from './circuit'

const zero = { here: [], attended: [], embedding: [], rest: [], attention: [], other: [], constant: [] }
const circuit = {
  sites: ['h.0.mlp.down', 'h.1.mlp.up'],
  vias: ['residual', 'neurons', 'attention', 'gate', 'query', 'key'],
  tokens: Array.from({ length: 9 }, (_, id) => ({ id, piece: ` ${id}` })),
  nodes: {
    site: [0, 0, 1],
    component: [4, 5, 2],
    position: [1, 1, 8],
    ci: [1, 0.5, 1],
    inner_activation: [1, 2, 3],
    effect: [2, -1, 3],
    inputs: zero,
  },
  edges: {
    source: [2, 0, 1],
    target: [-1, 2, -1],
    via: [0, 2, 5],
    weight: [3, 2, 1],
    effect: [3, 2, -1],
  },
  output: { position: 8, token: { id: 1, piece: ' a' }, against: null, value: 7, inputs: zero },
} as unknown as Circuit

describe('a circuit', () => {
  const graph = buildGraph(circuit)

  it('names its nodes by key and position, and the output', () => {
    expect([...graph.nodes.keys()]).toEqual(['h.0.mlp.down:4@1', 'h.0.mlp.down:5@1', 'h.1.mlp.up:2@8', OUT])
    expect(graph.edges.map((edge) => [edge.source.id, edge.target.id, edge.via])).toEqual([
      ['h.1.mlp.up:2@8', OUT, 'residual'],
      ['h.0.mlp.down:4@1', 'h.1.mlp.up:2@8', 'attention'],
      ['h.0.mlp.down:5@1', OUT, 'key'],
    ])
  })

  it('follows paths up and down from a node, and not sideways', () => {
    const { nodes, edges } = pathsThrough(graph.edges, 'h.1.mlp.up:2@8')
    expect([...nodes].sort()).toEqual(['h.0.mlp.down:4@1', 'h.1.mlp.up:2@8', OUT])
    expect(edges.size).toBe(2)
  })

  it('puts later sites higher, later tokens to the right, and folds tokens without a node', () => {
    const layout = layOut([...graph.nodes.values()], 9)
    const place = (id: string) => layout.places.get(id) ?? { x: 0, y: 0 }
    expect(place(OUT).y).toBeLessThan(place('h.1.mlp.up:2@8').y)
    expect(place('h.1.mlp.up:2@8').y).toBeLessThan(place('h.0.mlp.down:4@1').y)
    expect(place('h.0.mlp.down:4@1').x).toBeLessThan(place('h.0.mlp.down:5@1').x)
    expect(place('h.0.mlp.down:5@1').x).toBeLessThan(place(OUT).x)
    expect(layout.columns.map(({ position, folded }) => [position, folded])).toEqual([
      [0, 0],
      [1, 0],
      [2, 6],
      [8, 0],
    ])
  })
})
