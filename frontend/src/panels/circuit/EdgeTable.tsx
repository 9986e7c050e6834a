import { useMemo } from 'react'
import type { Token } from '@/api/types'
import { count, figure, shortKey, signed } from '@/api/words'
import { type Edge, type Node, OUT, VIA_WORDS } from '@/charts/circuit'
import type { EdgeSort } from '@/state/circuit'
import { Piece } from '@/ui/Piece'
import { SortHead } from '@/ui/SortHead'
import { Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'
import './circuit.css'

const COLUMNS: { sort: EdgeSort; name: string; number?: boolean }[] = [
  { sort: 'source', name: 'Source' },
  { sort: 'via', name: 'Through' },
  { sort: 'target', name: 'Target' },
  { sort: 'weight', name: 'Weight', number: true },
  { sort: 'effect', name: 'Effect, logits', number: true },
]

/** The circuit as a sortable table: everything the graph shows, for keyboards and screen readers. */
export function EdgeTable(props: {
  edges: Edge[]
  total: number
  tokens: Token[]
  pins: string[]
  output: string
  sort: EdgeSort
  dir: 'asc' | 'desc'
  name: (key: string) => string
  onSort: (sort: EdgeSort, dir: 'asc' | 'desc') => void
  onPin: (id: string) => void
}) {
  const { edges, sort, dir } = props
  const rows = useMemo(() => {
    const by: Record<EdgeSort, (a: Edge, b: Edge) => number> = {
      effect: (a, b) => Math.abs(b.effect) - Math.abs(a.effect),
      weight: (a, b) => Math.abs(b.weight) - Math.abs(a.weight),
      via: (a, b) => a.via.localeCompare(b.via),
      source: (a, b) => inOrder(a.source, b.source),
      target: (a, b) => inOrder(a.target, b.target),
    }
    const sorted = [...edges].sort(by[sort])
    const natural = sort === 'effect' || sort === 'weight' ? 'desc' : 'asc'
    return dir === natural ? sorted : sorted.reverse()
  }, [edges, sort, dir])
  const choose = (next: EdgeSort) => {
    const first = next === 'effect' || next === 'weight' ? 'desc' : 'asc'
    props.onSort(next, next === sort ? (dir === 'asc' ? 'desc' : 'asc') : first)
  }
  const cell = (node: Node) => (
    <NodeButton
      node={node}
      tokens={props.tokens}
      output={props.output}
      name={props.name(node.key)}
      pinned={props.pins.includes(node.id)}
      onPin={props.onPin}
    />
  )
  return (
    <Panel title="Edges" aside={`${count(edges.length)} of ${count(props.total)}`}>
      <TableScroll label="Edges of the circuit" tall>
        <table className="data" aria-label="Edges of the circuit">
          <thead>
            <tr>
              {COLUMNS.map((column) => (
                <SortHead
                  key={column.sort}
                  sorted={column.sort === sort ? dir : undefined}
                  onSort={() => choose(column.sort)}
                  className={column.number ? 'num' : undefined}
                >
                  {column.name}
                </SortHead>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((edge) => (
              <tr key={edge.id}>
                <td>{cell(edge.source)}</td>
                <td>{VIA_WORDS[edge.via]}</td>
                <td>{cell(edge.target)}</td>
                <td className="num">{figure(Number.isNaN(edge.weight) ? null : edge.weight)}</td>
                <td className={`num ${edge.effect > 0 ? 'rise' : 'fall'}`}>{signed(edge.effect, 3)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
    </Panel>
  )
}

const inOrder = (a: Node, b: Node) =>
  a.depth - b.depth || a.position - b.position || a.key.localeCompare(b.key, undefined, { numeric: true })

/** A node by name; a click pins it. */
export function NodeButton(props: {
  node: Node
  tokens: Token[]
  output: string
  name: string
  pinned: boolean
  onPin?: (id: string) => void
}) {
  const { node } = props
  if (node.id === OUT) return <b>output {props.output}</b>
  const inside = node.group ? (
    <b>{node.group.name}</b>
  ) : (
    <>
      <span className="mono">{shortKey(node.key)}</span>{' '}
      <span className="soft">
        <Piece text={props.tokens[node.position]?.piece ?? ''} /> {node.position}
      </span>
    </>
  )
  if (!props.onPin) return <span>{inside}</span>
  return (
    <button
      type="button"
      className="circuit-node-name"
      aria-pressed={props.pinned}
      title={props.name ? `“${props.name}”` : undefined}
      onClick={() => props.onPin?.(node.id)}
    >
      {inside}
    </button>
  )
}
