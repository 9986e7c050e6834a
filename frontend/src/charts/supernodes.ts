/** Supernodes: several nodes of a circuit drawn as one, under a name and a colour of their own. */
import { type Edge, type Graph, type Node, summed } from './circuit'

interface Supernode {
  name: string
  /** An index into the colours of supernodes. */
  colour: number
  /** Ids of its nodes. */
  nodes: string[]
}

export const supernodeId = (name: string) => `~${name}`

/** The graph with the members of each supernode drawn as one node. A node belongs to the first supernode that names it. */
export function withSupernodes(graph: Graph, supernodes: Supernode[]): Graph {
  const home = new Map<string, Node>()
  const nodes = new Map(graph.nodes)
  for (const { name, colour, nodes: ids } of supernodes) {
    const members = ids.flatMap((id) => (home.has(id) ? [] : (graph.nodes.get(id) ?? [])))
    if (members.length === 0) continue
    const together = joined(name, colour, members)
    for (const member of members) {
      home.set(member.id, together)
      nodes.delete(member.id)
    }
    nodes.set(together.id, together)
  }
  if (home.size === 0) return graph
  return { nodes, edges: mergedEdges(graph.edges, home), output: graph.output }
}

/** It stands where its member with the largest effect does. Effects add up, to first order. */
function joined(name: string, colour: number, members: Node[]): Node {
  const main = members.reduce((most, node) => (Math.abs(node.effect) > Math.abs(most.effect) ? node : most))
  return {
    ...main,
    id: supernodeId(name),
    row: -1,
    key: name,
    ci: Math.max(...members.map((node) => node.ci)),
    effect: members.reduce((sum, node) => sum + node.effect, 0),
    group: { name, colour, members },
  }
}

/** Edges between members go; those that now join the same two become one. Into a supernode a weight has no unit. */
function mergedEdges(edges: Edge[], home: Map<string, Node>): Edge[] {
  return summed(
    edges.flatMap((edge) => {
      const source = home.get(edge.source.id) ?? edge.source
      const target = home.get(edge.target.id) ?? edge.target
      if (source.id === target.id) return []
      return [{ ...edge, source, target, weight: target.group ? Number.NaN : edge.weight }]
    }),
  )
}
