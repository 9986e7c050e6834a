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
import { shortKey, signed, splitKey, visible } from '@/api/words'
import { type Edge, layOut, type Node, OUT, pathsThrough, steers, VIA_WORDS } from './circuit'
import { level, usePalette } from './palette'

export function CircuitFigure(props: {
  nodes: Node[]
  edges: Edge[]
  tokens: Token[]
  output: string
  pins: string[]
  zoom: number
  name: (key: string) => string
  onPin: (id: string) => void
  drawing: RefObject<SVGSVGElement | null>
}) {
  const { nodes, edges, tokens, pins, zoom } = props
  const { ramp } = usePalette()
  const frame = useRef<HTMLElement>(null)
  const [room, setRoom] = useState(0)
  useLayoutEffect(() => setRoom(frame.current?.clientWidth ?? 0), [])
  const [over, setOver] = useState<string | null>(null)
  const [focus, setFocus] = useState<string | null>(null)
  const layout = useMemo(() => layOut(nodes, tokens.length, room), [nodes, tokens.length, room])
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
  const outWidth = Math.max(60, Math.min(220, props.output.length * 7 + 18))
  const ordered = useMemo(() => [...edges].reverse(), [edges])
  const active = order.find((node) => node.id === (over ?? focus))
  return (
    <div>
      <section
        className="circuit-scroll"
        aria-label="Graph of the circuit"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
        tabIndex={0}
        ref={frame}
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
          {layout.rows.map((row) => (
            <g key={row.site}>
              <line x1={HEAD_LINE} x2={layout.width} y1={row.y} y2={row.y} className="circuit-line" />
              <text x="8" y={row.y + 4} className="circuit-row">
                {row.name}
              </text>
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
            const bend = Math.max(18, Math.abs(from.y - to.y) * 0.5)
            const shown = lit === null || lit.edges.has(edge.id)
            return (
              <path
                key={edge.id}
                d={`M${from.x} ${from.y}C${from.x} ${from.y - bend} ${to.x} ${to.y + bend} ${to.x} ${to.y}`}
                className={`circuit-edge ${edge.effect > 0 ? 'up' : 'down'} ${shown ? '' : 'dim'}`}
                strokeWidth={0.7 + 6 * (Math.abs(edge.effect) / top)}
                strokeDasharray={steers(edge.via) ? '5 4' : undefined}
              >
                <title>
                  {`${shortKey(edge.source.key)} → ${edge.target.id === OUT ? 'output' : shortKey(edge.target.key)}, ${VIA_WORDS[edge.via]}, effect ${signed(edge.effect, 2)}`}
                </title>
              </path>
            )
          })}
          {order.map((node) => {
            const place = layout.places.get(node.id)
            if (!place) return null
            const out = node.id === OUT
            const at = out ? -1 : level(node.ci, 'linear')
            const description = out
              ? `The output, ${props.output}`
              : `${shortKey(node.key)}${called(props.name(node.key))} at position ${node.position}, ${visible(tokens[node.position]?.piece ?? '')}: CI ${node.ci.toFixed(2)}, effect ${signed(node.effect, 2)}`
            return (
              // biome-ignore lint/a11y/useSemanticElements: SVG has no button
              <g
                key={node.id}
                data-node={node.id}
                role="button"
                aria-label={description}
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
                {out ? (
                  <>
                    <rect
                      x={-outWidth / 2}
                      y="-12"
                      width={outWidth}
                      height="24"
                      rx="6"
                      className="circuit-out"
                    />
                    <text y="4" className="circuit-out-name">
                      {short(props.output, 230)}
                    </text>
                  </>
                ) : (
                  <>
                    <circle r="11" fill={ramp[at]} className="circuit-dot" />
                    <text y="3.6" fill={at > 130 ? inkOf(ramp[at]) : 'var(--ink)'} className="circuit-index">
                      {splitKey(node.key).index}
                    </text>
                  </>
                )}
                <title>{description}</title>
              </g>
            )
          })}
        </svg>
      </section>
      <p className="circuit-readout" aria-hidden="true">
        {active
          ? active.id === OUT
            ? `output ${props.output}, ${signed(active.effect, 2)}`
            : `${shortKey(active.key)}${called(props.name(active.key))} · ${visible(tokens[active.position]?.piece ?? '')} ${active.position} · CI ${active.ci.toFixed(2)} · effect ${signed(active.effect, 2)}`
          : 'Hover or focus a node to follow its paths; click or press Enter to pin it.'}
      </p>
    </div>
  )
}

const HEAD_LINE = 92
const called = (name: string) => (name ? `, “${name}”` : '')
const short = (text: string, width: number) => {
  const most = Math.max(3, Math.floor(width / 7.2))
  return text.length > most ? `${text.slice(0, most - 1)}…` : text
}

/** Black or white, whichever is readable on a colour of the scale. */
function inkOf(colour: string | undefined): string {
  const [r = 0, g = 0, b = 0] = (colour ?? '').match(/\d+/g)?.map(Number) ?? []
  return r * 0.299 + g * 0.587 + b * 0.114 > 140 ? '#000000' : '#ffffff'
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
