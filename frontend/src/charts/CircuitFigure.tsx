/**
 * The circuit as a graph: tokens from left to right, sites from the bottom up. The width of an edge is the size of its
 * effect, its colour the sign. Nodes are buttons; the table has the same content in words.
 */
import {
  type KeyboardEvent,
  type PointerEvent,
  type RefObject,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from 'react'
import type { Token } from '@/api/types'
import { shortKey, shortLabel, signed, splitKey, visible } from '@/api/words'
import { type Edge, HEAD, layOut, NODE, type Node, OUT, pathsThrough, steers, VIA_WORDS } from './circuit'
import { level, usePalette } from './palette'

export function CircuitFigure(props: {
  nodes: Node[]
  edges: Edge[]
  tokens: Token[]
  output: string
  pins: string[]
  zoom: number
  /** Little of the output comes from what is drawn: drawn without colours. */
  weak: boolean
  name: (key: string) => string
  onPin: (id: string) => void
  drawing: RefObject<SVGSVGElement | null>
}) {
  const { nodes, edges, tokens, pins, zoom } = props
  const { ramp, ink } = usePalette()
  const frame = useRef<HTMLElement>(null)
  const [room, setRoom] = useState(0)
  const [scrolled, setScrolled] = useState(0)
  useLayoutEffect(() => setRoom(frame.current?.clientWidth ?? 0), [])
  const [over, setOver] = useState<string | null>(null)
  const [focus, setFocus] = useState<string | null>(null)
  const { name, output } = props
  const text = useMemo(() => (node: Node) => nodeText(node, name, output), [name, output])
  const layout = useMemo(() => layOut(nodes, tokens.length, text, room), [nodes, tokens.length, text, room])
  const top = Math.max(1e-12, ...edges.map((edge) => Math.abs(edge.effect)))
  const lit = useMemo(() => {
    const at = over ?? (pins.length > 0 ? null : focus)
    const from = at ? [at] : pins
    if (from.length === 0) return null
    const all = from.map((id) => pathsThrough(edges, id))
    return {
      nodes: new Set(all.flatMap((one) => [...one.nodes])),
      edges: new Set(all.flatMap((one) => [...one.edges])),
    }
  }, [over, focus, pins, edges])
  const order = useMemo(
    () => [...nodes].sort((a, b) => a.depth - b.depth || a.position - b.position || a.row - b.row),
    [nodes],
  )
  const stop = order.find((node) => node.id === focus)?.id ?? order.at(-1)?.id
  const move = (event: KeyboardEvent, id: string) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key]
    const at = order.findIndex((node) => node.id === id)
    const next =
      event.key === 'Home' ? order[0] : event.key === 'End' ? order.at(-1) : step ? order[at + step] : null
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault()
      if (id !== OUT) props.onPin(id)
    } else if (next) {
      event.preventDefault()
      setFocus(next.id)
      props.drawing.current?.querySelector<SVGGElement>(`[data-node="${CSS.escape(next.id)}"]`)?.focus()
    }
  }
  const drag = useDrag()
  const goal = layout.places.get(OUT)?.x ?? 0
  // The output, where reading starts, is scrolled into view.
  useEffect(() => {
    const scroll = frame.current
    if (scroll && goal > scroll.clientWidth - 60) scroll.scrollLeft = goal - scroll.clientWidth / 2
  }, [goal])
  const ordered = useMemo(() => [...edges].reverse(), [edges])
  const active = order.find((node) => node.id === (over ?? focus))
  return (
    <div>
      <section
        className={`circuit-scroll ${props.weak ? 'weak' : ''}`}
        aria-label="Graph of the circuit"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
        tabIndex={0}
        ref={frame}
        onScroll={(event) => setScrolled(event.currentTarget.scrollLeft)}
        {...drag}
      >
        {/* biome-ignore lint/a11y/useSemanticElements: SVG has no fieldset */}
        <svg
          ref={props.drawing}
          width={layout.width * zoom}
          height={layout.height * zoom}
          viewBox={`0 0 ${layout.width} ${layout.height}`}
          role="group"
          aria-label={`${edges.length} edges between ${nodes.length} nodes. Arrow keys move from node to node, Enter pins one; the table below has the same content.`}
        >
          {layout.rows.map((row, i) => (
            <g key={row.site}>
              {i % 2 === 0 && (
                <rect
                  x="0"
                  y={row.y - row.height / 2}
                  width={layout.width}
                  height={row.height}
                  className="circuit-band"
                />
              )}
            </g>
          ))}
          {layout.columns.map((column) => {
            const middle = column.x + column.width / 2
            const piece = visible(tokens[column.position]?.piece ?? '')
            return (
              <g key={column.position}>
                <text
                  x={middle}
                  y={layout.height - 22}
                  className={`circuit-token ${column.folded ? 'folded' : ''}`}
                >
                  {column.folded ? `…${column.folded}` : short(piece, column.width)}
                  <title>{column.folded ? `${column.folded} tokens without a node` : piece}</title>
                </text>
                <text x={middle} y={layout.height - 7} className="circuit-position">
                  {column.folded ? '' : column.position}
                </text>
              </g>
            )
          })}
          {ordered.map((edge) => {
            const from = layout.places.get(edge.source.id)
            const to = layout.places.get(edge.target.id)
            if (!from || !to) return null
            const [start, end] = [from.y - NODE / 2, to.y + NODE / 2]
            const bend = Math.max(18, Math.abs(start - end) * 0.5)
            const shown = lit === null || lit.edges.has(edge.id)
            return (
              <path
                key={edge.id}
                d={`M${from.x} ${start}C${from.x} ${start - bend} ${to.x} ${end + bend} ${to.x} ${end}`}
                className={`circuit-edge ${edge.effect > 0 ? 'up' : 'down'} ${shown ? '' : 'dim'}`}
                strokeWidth={0.7 + 6 * (Math.abs(edge.effect) / top)}
                strokeDasharray={steers(edge.via) ? '5 4' : undefined}
              >
                <title>
                  {`${nodeName(edge.source)} → ${nodeName(edge.target)}, ${VIA_WORDS[edge.via]}, effect ${signed(edge.effect, 2)} logits`}
                </title>
              </path>
            )
          })}
          {order.map((node) => {
            const place = layout.places.get(node.id)
            if (!place) return null
            const out = node.id === OUT
            const at = level(node.ci, 'linear')
            const description = out
              ? `The output, ${props.output}`
              : `${nodeName(node)}${called(props.name(node.key))} at position ${node.position}, ${visible(tokens[node.position]?.piece ?? '')}: CI ${node.ci.toFixed(2)}, effect ${signed(node.effect, 2)} logits`
            return (
              // biome-ignore lint/a11y/useSemanticElements: SVG has no button
              <g
                key={node.id}
                data-node={node.id}
                role="button"
                aria-label={out ? description : `${text(node)}. ${description}`}
                aria-pressed={out ? undefined : pins.includes(node.id)}
                aria-disabled={out || undefined}
                tabIndex={node.id === stop ? 0 : -1}
                transform={`translate(${place.x} ${place.y})`}
                className={`circuit-node ${pins.includes(node.id) ? 'pinned' : ''} ${lit && !lit.nodes.has(node.id) ? 'dim' : ''}`}
                onClick={() => !out && props.onPin(node.id)}
                onKeyDown={(event) => move(event, node.id)}
                onFocus={() => setFocus(node.id)}
                onBlur={() => setFocus(null)}
                onMouseEnter={() => setOver(node.id)}
                onMouseLeave={() => setOver(null)}
              >
                <rect
                  x={-place.width / 2}
                  y={-NODE / 2}
                  width={place.width}
                  height={NODE}
                  rx="6"
                  className={out ? 'circuit-out' : node.group ? 'circuit-group group-colour' : 'circuit-dot'}
                  data-colour={node.group?.colour}
                  fill={out || node.group ? undefined : ramp[at]}
                />
                <text
                  y="4"
                  fill={out || node.group ? undefined : ink[at]}
                  className={out || node.group ? 'circuit-out-name' : 'circuit-name'}
                >
                  {text(node)}
                </text>
                <title>{description}</title>
              </g>
            )
          })}
          {/* Stays in sight where the drawing is scrolled; by style, which an exported drawing does without. */}
          <g style={{ transform: `translateX(${scrolled / zoom}px)` }}>
            <rect width={HEAD - 4} height={layout.height} className="circuit-margin" />
            {layout.rows.map((row) => (
              <text key={row.site} x="8" y={row.y + 4} className="circuit-row">
                {row.name}
              </text>
            ))}
          </g>
        </svg>
      </section>
      <p className="circuit-readout" aria-hidden="true">
        {active
          ? active.id === OUT
            ? `output ${props.output}, ${signed(active.effect, 2)}`
            : `${nodeName(active)}${called(props.name(active.key))} · ${visible(tokens[active.position]?.piece ?? '')} ${active.position} · CI ${active.ci.toFixed(2)} · effect ${signed(active.effect, 2)} logits`
          : 'Hover or focus a node to follow its paths; click or press Enter to pin it. Pinned nodes can be grouped.'}
      </p>
    </div>
  )
}

const MOST = 18
const called = (name: string) => (name ? `, “${name}”` : '')
const cut = (text: string, most: number) => (text.length > most ? `${text.slice(0, most - 1)}…` : text)
const short = (text: string, width: number) => cut(text, Math.max(3, Math.floor(width / 7.2)))

/** A node in words. */
function nodeName(node: Node): string {
  if (node.id === OUT) return 'output'
  return node.group ? `${node.group.name} (${node.group.members.length} nodes)` : shortKey(node.key)
}

/** What is written on a node: the number of the component and what it fires on, or what people called it. */
function nodeText(node: Node, name: (key: string) => string, output: string): string {
  if (node.id === OUT) return cut(output, 32)
  if (node.group) return `${cut(node.group.name, MOST)} ×${node.group.members.length}`
  return cut(`${splitKey(node.key).index} ${shortLabel(name(node.key))}`.trim(), MOST)
}
/** Drags the drawing where it is larger than its frame. */
function useDrag() {
  const from = useRef<{ x: number; y: number; left: number; top: number } | null>(null)
  return {
    onPointerDown: (event: PointerEvent<HTMLElement>) => {
      if (event.pointerType !== 'mouse' || (event.target as Element).closest('[data-node]')) return
      const { scrollLeft, scrollTop } = event.currentTarget
      from.current = { x: event.clientX, y: event.clientY, left: scrollLeft, top: scrollTop }
    },
    onPointerMove: (event: PointerEvent<HTMLElement>) => {
      if (!from.current) return
      event.currentTarget.scrollLeft = from.current.left - (event.clientX - from.current.x)
      event.currentTarget.scrollTop = from.current.top - (event.clientY - from.current.y)
    },
    onPointerUp: () => {
      from.current = null
    },
    onPointerLeave: () => {
      from.current = null
    },
  }
}
