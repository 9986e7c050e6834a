import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { useEffect, useMemo, useRef, useState } from 'react'
import { withDefaults } from '@/api/client'
import { codeOfScreen } from '@/api/code'
import { attributionGraph } from '@/api/experiments'
import { queries } from '@/api/queries'
import type { Circuit, CircuitQuestion, CircuitRequest, Decomposition, GraphRequest } from '@/api/types'
import { count, plural, visible } from '@/api/words'
import { CircuitFigure } from '@/charts/CircuitFigure'
import { buildGraph, explained, OUT } from '@/charts/circuit'
import { svgOfElement } from '@/charts/export'
import { withSupernodes } from '@/charts/supernodes'
import { type CircuitSearch, EDGES, MOST_PINS, supernodesOf } from '@/state/circuit'
import type { PromptSpec } from '@/state/prompts'
import { Button, Slider, Switch } from '@/ui/controls'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Empty, Panel } from '@/ui/surfaces'
import { EdgeTable } from './EdgeTable'
import { Pins } from './Pins'
import './circuit.css'

const ZOOMS = [0.5, 0.65, 0.8, 1, 1.25, 1.6, 2]

/** The graph, the same edges as a table, and a card for every pinned node. */
export function CircuitPanel(props: {
  decomposition: Decomposition
  circuit: Circuit
  spec: PromptSpec
  request: CircuitQuestion
  search: CircuitSearch
  onSearch: (change: Partial<CircuitSearch>) => void
}) {
  const { decomposition, circuit, request, search, onSearch } = props
  const { id } = decomposition
  const labels = useQuery({ ...queries.labels(id), placeholderData: keepPreviousData }).data
  const graph = useMemo(
    () => withSupernodes(buildGraph(circuit), supernodesOf({ g: search.g })),
    [circuit, search.g],
  )
  const [drawn, setDrawn] = useState(search.e ?? EDGES)
  useEffect(() => setDrawn(search.e ?? EDGES), [search.e])
  const offered = useMemo(
    () => graph.edges.filter((edge) => search.mlp !== 'hide' || !['neurons', 'gate'].includes(edge.via)),
    [graph, search.mlp],
  )
  const edges = useMemo(() => offered.slice(0, drawn), [offered, drawn])
  const pins = useMemo(() => (search.pin ?? []).filter((pin) => graph.nodes.has(pin)), [search.pin, graph])
  const missing = (search.pin ?? []).filter((pin) => !graph.nodes.has(pin))
  const nodes = useMemo(() => {
    const used = new Map(edges.flatMap((edge) => [edge.source, edge.target]).map((node) => [node.id, node]))
    for (const pin of pins) {
      const node = graph.nodes.get(pin)
      if (node) used.set(pin, node)
    }
    return [...used.set(OUT, graph.output).values()]
  }, [edges, pins, graph])
  const output =
    visible(circuit.output.token.piece) +
    (circuit.output.against ? ` − ${visible(circuit.output.against.piece)}` : '')
  const pin = (node: string) => {
    const now = search.pin ?? []
    const out = now.includes(node)
    const next = out ? now.filter((one) => one !== node) : [node, ...now].slice(0, MOST_PINS)
    onSearch({ pin: next.length > 0 ? next : undefined, sel: out ? undefined : node })
  }
  const { share, little } = explained(circuit)
  const total = circuit.edges_shown === circuit.edges_total ? graph.edges.length : circuit.edges_total
  const drawing = useRef<SVGSVGElement>(null)
  const frame = useRef<HTMLDivElement>(null)
  const [zoom, setZoom] = useState(1)
  const [full, toggleFull] = useFullScreen(frame)
  const step = (by: number) => {
    const at = ZOOMS.findIndex((one) => one >= zoom - 1e-6)
    setZoom(ZOOMS[Math.min(ZOOMS.length - 1, Math.max(0, (at < 0 ? ZOOMS.length - 1 : at) + by))] ?? 1)
  }
  const fit = () => {
    const scroll = drawing.current?.parentElement
    const box = drawing.current?.viewBox.baseVal
    if (scroll && box) setZoom(Math.max(0.3, Math.min(2, (scroll.clientWidth - 4) / box.width)))
  }
  const facts = {
    ...provenanceFacts(circuit.provenance),
    output,
    'explained by its nodes': `${Math.round(100 * share)} %`,
    threshold: circuit.threshold,
  }
  const name = (key: string) => labels?.get(key)?.label ?? ''
  const graphFile = async () =>
    JSON.stringify(
      await attributionGraph(id, {
        ...(props.request as Partial<GraphRequest>),
        pinned: pins.filter((pin) => !pin.startsWith('~')),
        supernodes: supernodesOf(search).map((one) => ({ name: one.name, nodes: one.nodes })),
      }),
    )
  return (
    <div ref={frame} className={`circuit ${full ? 'full' : ''}`}>
      <Panel
        title="Graph"
        aside={
          <span role="status">
            {plural(edges.length, 'edge')} drawn of {count(total)} · {plural(nodes.length - 1, 'node')} of{' '}
            {count(circuit.nodes.ci.length)}
          </span>
        }
        tools={
          <span className="row circuit-tools">
            <Button kind="quiet" size="small" aria-label="Zoom out" onClick={() => step(-1)}>
              −
            </Button>
            <Button kind="quiet" size="small" onClick={fit}>
              Fit
            </Button>
            <Button kind="quiet" size="small" aria-label="Zoom in" onClick={() => step(1)}>
              +
            </Button>
            <Button kind="quiet" size="small" aria-pressed={full} onClick={toggleFull}>
              Full screen
            </Button>
            <ExportMenu
              of={id}
              name="circuit"
              title="Circuit"
              facts={facts}
              code={(kind) =>
                codeOfScreen(id, { ablations: [], circuit: withDefaults<CircuitRequest>(request) }, kind)
              }
              figure={() => (drawing.current ? svgOfElement(drawing.current) : '')}
              more={[{ label: 'Neuronpedia graph', ending: 'neuronpedia.json', make: graphFile }]}
              table={() => ({
                columns: ['source', 'target', 'via', 'weight', 'effect'].map((key) => ({ key })),
                rows: graph.edges.map((edge) => ({
                  source: edge.source.id,
                  target: edge.target.id,
                  via: edge.via,
                  weight: edge.weight,
                  effect: edge.effect,
                })),
              })}
            />
          </span>
        }
      >
        <div className="circuit-bar">
          <span className="legend">
            {!little && (
              <>
                <span className="diff-key down" /> lowers the output
                <span className="diff-key up" /> raises it
              </>
            )}
            <span className="circuit-key" aria-hidden="true" /> adds to the target
            <span className="circuit-key dashed" aria-hidden="true" /> gates or steers the target
            <span>· width: size of the effect</span>
          </span>
          <Switch
            label="Edges inside an MLP"
            checked={search.mlp !== 'hide'}
            onChange={(on) => onSearch({ mlp: on ? undefined : 'hide' })}
          />
          <span className="circuit-count">
            <span>edges drawn</span>
            <Slider
              label="Edges drawn"
              min={1}
              max={Math.max(1, offered.length)}
              step={1}
              value={Math.min(drawn, Math.max(1, offered.length))}
              onChange={setDrawn}
              onCommit={(e) => onSearch({ e: e === EDGES ? undefined : e })}
            />
            <span className="num">{edges.length}</span>
          </span>
        </div>
        {edges.length === 0 ? (
          <Empty title="No component in use feeds this output">
            Lower the threshold, or explain another position.
          </Empty>
        ) : (
          <CircuitFigure
            nodes={nodes}
            edges={edges}
            tokens={circuit.tokens}
            output={output}
            pins={pins}
            zoom={zoom}
            weak={little}
            name={name}
            onPin={pin}
            drawing={drawing}
          />
        )}
      </Panel>
      {missing.length > 0 && (
        <p className="small soft" role="status">
          {plural(missing.length, 'pinned node')} of the address {missing.length === 1 ? 'is' : 'are'} not in
          use here at this threshold: <span className="mono">{missing.join(', ')}</span>
        </p>
      )}
      {pins.length > 0 && (
        <Pins
          id={id}
          graph={graph}
          pins={pins}
          circuit={circuit}
          spec={props.spec}
          search={search}
          name={name}
          onPin={pin}
          onSearch={onSearch}
        />
      )}
      <EdgeTable
        edges={edges}
        total={total}
        tokens={circuit.tokens}
        pins={pins}
        output={output}
        sort={search.sort ?? 'effect'}
        dir={search.dir ?? 'desc'}
        onSort={(sort, dir) => onSearch({ sort, dir })}
        onPin={pin}
        name={name}
      />
    </div>
  )
}

/** Whether an element fills the screen, by the browser's own means where it has them. */
function useFullScreen(frame: { current: HTMLElement | null }): [boolean, () => void] {
  const [full, setFull] = useState(false)
  useEffect(() => {
    const follow = () => setFull(document.fullscreenElement !== null)
    document.addEventListener('fullscreenchange', follow)
    return () => document.removeEventListener('fullscreenchange', follow)
  }, [])
  const toggle = () => {
    if (document.fullscreenElement) void document.exitFullscreen()
    else if (frame.current?.requestFullscreen)
      frame.current.requestFullscreen().catch(() => setFull((on) => !on))
    else setFull((on) => !on)
  }
  return [full, toggle]
}
