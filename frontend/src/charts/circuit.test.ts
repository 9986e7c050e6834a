import { describe, expect, it } from 'vitest'
import type { Circuit } from '@/api/types'
import { buildGraph, explained, layOut, NODE, nodeWidth, OUT, pathsThrough } from './circuit'
import { withSupernodes } from './supernodes'

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

  it('adds up what goes through the attentions of several layers', () => {
    const twice = {
      source: [0, 0, 1],
      target: [2, 2, -1],
      via: [2, 2, 0],
      weight: [2, -1, 1],
      effect: [4, -1, 5],
    }
    const found = buildGraph({ ...circuit, edges: twice }).edges
    expect(found.map((edge) => [edge.source.id, edge.weight, edge.effect])).toEqual([
      ['h.0.mlp.down:5@1', 1, 5],
      ['h.0.mlp.down:4@1', 1, 3],
    ])
  })

  it('follows paths up and down from a node, and not sideways', () => {
    const { nodes, edges } = pathsThrough(graph.edges, 'h.1.mlp.up:2@8')
    expect([...nodes].sort()).toEqual(['h.0.mlp.down:4@1', 'h.1.mlp.up:2@8', OUT])
    expect(edges.size).toBe(2)
  })

  it('puts later sites higher, later tokens to the right, and folds tokens without a node', () => {
    const layout = layOut([...graph.nodes.values()], 9, (node) => node.id)
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

  it('stands many nodes of one place in lines that do not touch, and makes the column as wide as they are', () => {
    const [first] = [...graph.nodes.values()]
    if (!first) throw new Error('no node')
    const many = Array.from({ length: 9 }, (_, i) => ({ ...first, id: `n${i}`, key: `h.0.mlp.down:${i}` }))
    const { places, columns } = layOut(many, 2, () => 'eight ch')
    const boxes = [...places.values()]
    expect(new Set(boxes.map((box) => box.y)).size).toBe(3)
    for (const one of boxes)
      for (const other of boxes)
        expect(
          one === other ||
            Math.abs(one.x - other.x) >= nodeWidth('eight ch') ||
            Math.abs(one.y - other.y) >= NODE,
        ).toBe(true)
    expect(columns[1]?.width).toBeGreaterThan(3 * nodeWidth('eight ch'))
  })

  it('joins the nodes of a group: effects add up, edges between them go, and those to one target become one', () => {
    const names = ['h.0.mlp.down:4@1', 'h.0.mlp.down:5@1', 'h.9.not.there:1@1']
    const merged = withSupernodes(graph, [{ name: 'early', colour: 2, nodes: names }])
    expect([...merged.nodes.keys()]).toEqual(['h.1.mlp.up:2@8', OUT, '~early'])
    expect(merged.nodes.get('~early')).toMatchObject({ effect: 1, ci: 1, position: 1 })
    expect(merged.edges.map((edge) => [edge.source.id, edge.target.id, edge.effect])).toEqual([
      ['h.1.mlp.up:2@8', OUT, 3],
      ['~early', 'h.1.mlp.up:2@8', 2],
      ['~early', OUT, -1],
    ])
    const all = withSupernodes(graph, [
      { name: 'all', colour: 0, nodes: ['h.0.mlp.down:4@1', 'h.1.mlp.up:2@8'] },
    ])
    expect(all.edges.map((edge) => [edge.source.id, edge.target.id])).toEqual([
      ['~all', OUT],
      ['h.0.mlp.down:5@1', OUT],
    ])
  })

  it('says what share of the output its nodes write, and when that is little', () => {
    const of = (here: number, attended: number) =>
      explained({
        ...circuit,
        output: { ...circuit.output, inputs: { ...zero, here: [here], attended: [attended] } },
      })
    expect(of(3, 3.3)).toMatchObject({ share: 0.9, little: false })
    expect(of(1.75, 0)).toMatchObject({ share: 0.25, little: true })
    expect(of(14, 0)).toMatchObject({ share: 2, little: true })
  })
})
