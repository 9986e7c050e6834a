import { Link } from '@tanstack/react-router'
import type { Circuit } from '@/api/types'
import { figure, shortKey, signed } from '@/api/words'
import { type Edge, type Node, VIA_WORDS } from '@/charts/circuit'
import { encodeEntry } from '@/state/basket'
import { encodePrompt, type PromptSpec } from '@/state/prompts'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Piece } from '@/ui/Piece'
import { NodeButton } from './EdgeTable'
import { Note } from './Note'
import './circuit.css'

const ORIGINS: [keyof Circuit['output']['inputs'], string][] = [
  ['here', 'nodes at this position'],
  ['attended', 'nodes through attention'],
  ['embedding', 'embedding here'],
  ['rest', 'rest of decomposed sites'],
  ['attention', 'other inputs through attention'],
  ['other', 'matrices not decomposed'],
  ['constant', 'biases of norms'],
]
const MOST = 8

/** A pinned node: the composition of its activation, its inputs and outputs ranked by effect, and links. */
export function NodeCard(props: {
  id: string
  node: Node
  name: (key: string) => string
  note: string
  onNote: (text: string) => void
  circuit: Circuit
  edges: Edge[]
  spec: PromptSpec
  open: boolean
  onOpen: () => void
  onPin: (id: string) => void
}) {
  const { node, circuit, open, spec } = props
  const label = props.name(node.key)
  const inner = circuit.nodes.inner_activation[node.row] ?? 0
  const parts = ORIGINS.map(([name, words]) => ({
    words,
    value: circuit.nodes.inputs[name][node.row] ?? 0,
  })).filter((part) => part.value !== 0)
  const size = parts.reduce((sum, part) => sum + Math.abs(part.value), 0) || 1
  return (
    <article
      className={`circuit-card ${open ? 'open' : ''}`}
      aria-label={`${shortKey(node.key)} at position ${node.position}`}
    >
      <header>
        <button type="button" className="circuit-card-head" aria-expanded={open} onClick={props.onOpen}>
          <b className="mono">{shortKey(node.key)}</b>
          <span>
            <Piece text={circuit.tokens[node.position]?.piece ?? ''} />{' '}
            <span className="soft">position {node.position}</span>
          </span>
          {label && <span className="soft">“{label}”</span>}
          {!open && props.note && <span>{props.note}</span>}
        </button>
        <Button
          kind="quiet"
          size="small"
          icon
          aria-label={`Unpin ${shortKey(node.key)} at position ${node.position}`}
          onClick={() => props.onPin(node.id)}
        >
          <Icon name="close" />
        </Button>
      </header>
      {open && (
        <div className="circuit-card-body">
          <dl className="circuit-facts">
            <div>
              <dt>CI</dt>
              <dd className="num">{node.ci.toFixed(2)}</dd>
            </div>
            <div>
              <dt>inner activation</dt>
              <dd className="num">{figure(inner)}</dd>
            </div>
            <div>
              <dt>effect on the output, to first order</dt>
              <dd className={`num ${node.effect > 0 ? 'rise' : 'fall'}`}>{signed(node.effect, 2)} logits</dd>
            </div>
          </dl>
          <Note of={shortKey(node.key)} text={props.note} onText={props.onNote} />
          <div className="circuit-lists">
            <div>
              <h3>Composition of its activation</h3>
              <ul className="circuit-parts">
                {parts.map((part) => (
                  <li key={part.words}>
                    <span>{part.words}</span>
                    <span className="circuit-part" aria-hidden="true">
                      <i
                        className={part.value > 0 ? 'up' : 'down'}
                        style={{ width: `${(100 * Math.abs(part.value)) / size}%` }}
                      />
                    </span>
                    <span className="num">{figure(part.value)}</span>
                  </li>
                ))}
              </ul>
            </div>
            <Ranked
              {...props}
              title="Inputs"
              edges={props.edges.filter((e) => e.target.id === node.id)}
              end="source"
            />
            <Ranked
              {...props}
              title="Outputs"
              edges={props.edges.filter((e) => e.source.id === node.id)}
              end="target"
            />
          </div>
          <p className="row">
            <Link to="/d/$id/c/$key" params={{ id: props.id, key: node.key }} className="btn small">
              Component page
            </Link>
            <Link
              to="/d/$id/workbench"
              params={{ id: props.id }}
              search={{
                p: [encodePrompt(spec)],
                a: [
                  encodeEntry({
                    kind: 'component',
                    name: node.key,
                    strength: 1,
                    positions: [node.position],
                  }),
                ],
                cond: 'a',
                row: node.site,
                col: node.position,
              }}
              className="btn small"
            >
              Suppress in the workbench
            </Link>
          </p>
        </div>
      )}
    </article>
  )
}

function Ranked(props: {
  title: string
  edges: Edge[]
  end: 'source' | 'target'
  circuit: Circuit
  name: (key: string) => string
  onPin: (id: string) => void
}) {
  const { edges, end, circuit } = props
  const against = circuit.output.against
  const output = circuit.output.token.piece + (against ? ` − ${against.piece}` : '')
  return (
    <div>
      <h3>{props.title}</h3>
      {edges.length === 0 && <p className="small soft">None of the {circuit.edges_shown} strongest edges.</p>}
      <ol className="circuit-ranked">
        {edges.slice(0, MOST).map((edge) => (
          <li key={edge.id}>
            <NodeButton
              node={edge[end]}
              tokens={circuit.tokens}
              output={output}
              name={props.name(edge[end].key)}
              pinned={false}
              onPin={props.onPin}
            />
            <span className="soft small">{VIA_WORDS[edge.via]}</span>
            <span className={`num ${edge.effect > 0 ? 'rise' : 'fall'}`}>{signed(edge.effect, 2)}</span>
          </li>
        ))}
      </ol>
      {edges.length > MOST && (
        <p className="small soft">and {edges.length - MOST} weaker ones in the table</p>
      )}
    </div>
  )
}
