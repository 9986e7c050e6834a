import type { Circuit } from '@/api/types'
import { count, probability, signed, visible } from '@/api/words'
import { Notice } from '@/ui/surfaces'

/** How much of the output the graph explains, before anything else. */
export function Explained({ circuit }: { circuit: Circuit }) {
  const { output, in_use, kept_effect, nodes } = circuit
  const [here, attended] = [output.inputs.here[0] ?? 0, output.inputs.attended[0] ?? 0]
  const share = output.value === 0 ? 0 : (here + attended) / output.value
  const little = share < 0.5 || share > 1.5
  return (
    <>
      <p>
        <b className="mono">{visible(output.token.piece)}</b>
        {output.against && (
          <>
            {' against '}
            <b className="mono">{visible(output.against.piece)}</b>
          </>
        )}{' '}
        has {output.against ? 'a difference of logits' : 'a logit'} of{' '}
        <b className="num">{signed(output.value, 2)}</b> at position {output.position}. The components below
        write <b className="num">{signed(here + attended, 2)}</b> of it ({signed(here, 2)} at this position,{' '}
        {signed(attended, 2)} through one attention layer);{' '}
        <b className="num">{signed(output.value - here - attended, 2)}</b> come from what no node shows.
      </p>
      {little && (
        <Notice tone="warn">
          Most of this output does not come from what is drawn, so the graph says little about why it is what
          it is.
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
