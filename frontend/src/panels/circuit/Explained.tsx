import type { Circuit } from '@/api/types'
import { count, probability, signed, visible } from '@/api/words'
import { explained } from '@/charts/circuit'
import { Notice } from '@/ui/surfaces'
import './circuit.css'

/** How much of the output the graph explains, before anything else. */
export function Explained({ circuit }: { circuit: Circuit }) {
  const { output, in_use, kept_effect, nodes } = circuit
  const { here, attended, share, little } = explained(circuit)
  const rest = output.value - here - attended
  const drawn = Math.max(0, Math.min(1, share))
  return (
    <>
      <div className="circuit-share">
        <p>
          <b className={`num ${little ? 'little' : ''}`}>{Math.round(100 * share)} %</b> of{' '}
          {output.against ? 'the difference' : 'the logit'}{' '}
          <b className="mono">{visible(output.token.piece)}</b>
          {output.against && (
            <>
              {' − '}
              <b className="mono">{visible(output.against.piece)}</b>
            </>
          )}{' '}
          at position {output.position} is written by the nodes below.
        </p>
        <div className={`circuit-meter ${little ? 'little' : ''}`} aria-hidden="true">
          <i style={{ width: `${100 * drawn}%` }} />
        </div>
        <p className="small soft">
          <span className="num">{signed(here + attended, 2)}</span> of{' '}
          <span className="num">{signed(output.value, 2)}</span> logits: {signed(here, 2)} at this position,{' '}
          {signed(attended, 2)} through one attention; {signed(rest, 2)} from what no node shows.
        </p>
      </div>
      {little && (
        <Notice tone="warn">
          {share > 1
            ? 'The nodes write more than the output holds; what no node shows takes it back.'
            : 'Most of this output does not come from what is drawn.'}{' '}
          The graph says little about why it is what it is, so it is drawn without colours. To know what a
          component does here, suppress it in the workbench.
        </Notice>
      )}
      {nodes.ci.length < in_use && (
        <p className="soft">
          {count(in_use)} components are in use over the positions of this prompt; the{' '}
          {count(nodes.ci.length)} with the largest effects are nodes. They hold {probability(kept_effect)} of
          the effect of all, to first order and without signs.
        </p>
      )}
    </>
  )
}
