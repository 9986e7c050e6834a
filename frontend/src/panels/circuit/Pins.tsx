import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import type { Circuit } from '@/api/types'
import { plural, shortLabel } from '@/api/words'
import type { Graph, Node } from '@/charts/circuit'
import { supernodeId } from '@/charts/supernodes'
import { encodeEntry } from '@/state/basket'
import {
  type CircuitSearch,
  COLOURS,
  encodeSupernode,
  freeName,
  MOST_SUPERNODES,
  NAME_LENGTH,
  notesOf,
  type Supernode,
  supernodesOf,
  withNote,
} from '@/state/circuit'
import { encodePrompt, type PromptSpec } from '@/state/prompts'
import { Button } from '@/ui/controls'
import { GroupCard } from './GroupCard'
import { NodeCard } from './NodeCard'
import './circuit.css'

/** Pinned nodes and groups: make groups of them, name them, take them to the workbench. */
export function Pins(props: {
  id: string
  graph: Graph
  pins: string[]
  circuit: Circuit
  spec: PromptSpec
  search: CircuitSearch
  name: (key: string) => string
  onPin: (id: string) => void
  onSearch: (change: Partial<CircuitSearch>) => void
}) {
  const { id, graph, pins, circuit, spec, search, onSearch, name } = props
  const nodes = pins.flatMap((pin) => graph.nodes.get(pin) ?? [])
  const single = nodes.filter((node) => !node.group)
  const supernodes = supernodesOf(search)
  const notes = notesOf(search)
  const open = pins.find((one) => one === search.sel) ?? pins[0]
  const store = (next: Supernode[], change: Partial<CircuitSearch> = {}) =>
    onSearch({ g: next.length > 0 ? next.map(encodeSupernode) : undefined, ...change })
  const group = (wanted: string) => {
    const called = freeName(wanted, supernodes)
    const made = { name: called, colour: supernodes.length % COLOURS, nodes: single.map((node) => node.id) }
    const pin = [supernodeId(called), ...nodes.filter((node) => node.group).map((node) => node.id)]
    store([...supernodes, made], { pin, sel: supernodeId(called) })
  }
  const change = (of: Node, next: Partial<Supernode>) => {
    const before = of.group?.name ?? ''
    const others = supernodes.filter((one) => one.name !== before)
    const called = next.name === undefined ? before : freeName(next.name, others)
    const now = supernodes.map((one) => (one.name === before ? { ...one, ...next, name: called } : one))
    const id = supernodeId(called)
    const note = withNote({ note: withNote(search, of.id, '') }, id, notes.get(of.id) ?? '')
    store(now, { note, pin: pins.map((pin) => (pin === of.id ? id : pin)), sel: id })
  }
  const ungroup = (of: Node) =>
    store(
      supernodes.filter((one) => one.name !== of.group?.name),
      {
        note: withNote(search, of.id, ''),
        pin: [...pins.filter((pin) => pin !== of.id), ...(of.group?.members.map((one) => one.id) ?? [])],
      },
    )
  return (
    <section className="circuit-pins" aria-label="Pinned nodes">
      <div className="row circuit-pins-head">
        <h2>{plural(pins.length, 'pinned node')}</h2>
        {single.length > 1 && supernodes.length < MOST_SUPERNODES && (
          <GroupForm key={single.length} suggestion={suggested(single, name)} onGroup={group} />
        )}
        <SuppressLink id={id} spec={spec} nodes={nodes} />
        <Button kind="quiet" size="small" onClick={() => onSearch({ pin: undefined, sel: undefined })}>
          Unpin all
        </Button>
      </div>
      {nodes.map((node) => {
        const note = notes.get(node.id) ?? ''
        const onNote = (text: string) => onSearch({ note: withNote(search, node.id, text) })
        return node.group ? (
          <GroupCard
            key={node.id}
            node={node}
            circuit={circuit}
            note={note}
            name={name}
            onNote={onNote}
            onChange={(next) => change(node, next)}
            onUngroup={() => ungroup(node)}
          />
        ) : (
          <NodeCard
            key={node.id}
            id={id}
            node={node}
            name={name}
            note={note}
            onNote={onNote}
            circuit={circuit}
            edges={graph.edges}
            spec={spec}
            open={node.id === open}
            onOpen={() => onSearch({ sel: node.id })}
            onPin={props.onPin}
          />
        )
      })}
    </section>
  )
}

/** What most of the nodes fire on. */
function suggested(nodes: Node[], name: (key: string) => string): string {
  const counted = new Map<string, number>()
  for (const node of nodes) {
    const label = shortLabel(name(node.key))
    if (label) counted.set(label, (counted.get(label) ?? 0) + 1)
  }
  return [...counted].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'group'
}

function GroupForm(props: { suggestion: string; onGroup: (name: string) => void }) {
  const [name, setName] = useState('')
  return (
    <form
      className="row"
      onSubmit={(event) => {
        event.preventDefault()
        props.onGroup(name || props.suggestion)
      }}
    >
      <input
        className="input"
        value={name}
        maxLength={NAME_LENGTH}
        placeholder={props.suggestion}
        aria-label="Name of the new group"
        onChange={(event) => setName(event.target.value)}
      />
      <Button type="submit" size="small">
        Group these
      </Button>
    </form>
  )
}

/** To the workbench with all of these suppressed, each where it stands. */
function SuppressLink(props: { id: string; spec: PromptSpec; nodes: Node[] }) {
  const places = new Map<string, Set<number>>()
  for (const node of props.nodes.flatMap((one) => one.group?.members ?? [one]))
    places.set(node.key, (places.get(node.key) ?? new Set()).add(node.position))
  const entries = [...places].map(([key, positions]) =>
    encodeEntry({
      kind: 'component',
      name: key,
      strength: 1,
      positions: [...positions].sort((a, b) => a - b),
    }),
  )
  return (
    <Link
      to="/d/$id/workbench"
      params={{ id: props.id }}
      search={{ p: [encodePrompt(props.spec)], a: entries, cond: 'a' }}
      className="btn small"
    >
      Suppress {props.nodes.length === 1 ? 'it' : 'these'} in the workbench
    </Link>
  )
}
