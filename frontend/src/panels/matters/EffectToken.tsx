import { probability, visible } from '@/api/words'
import { useTokenInput } from '@/state/useTokenInput'
import type { PromptView, Workbench } from '@/state/useWorkbench'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Popover } from '@/ui/surfaces'
import { TokenInput } from '@/ui/TokenInput'
import './matters.css'

/** The token whose log p the effects are on. */
export function EffectToken({ bench, prompt }: { bench: Workbench; prompt: PromptView }) {
  const input = useTokenInput(bench.id, bench.offers)
  const answer = prompt.effects.data
  const token = answer?.token.piece ?? bench.search.et ?? prompt.answer
  return (
    <Popover
      label="Token that effects are on"
      trigger={
        <Button size="small">
          on <span className="mono">{token === null ? '…' : visible(token)}</span>
          {answer && <span className="faint">{probability(answer.probability)}</span>} <Icon name="down" />
        </Button>
      }
    >
      <div className="watch">
        <p className="field-label">Effects on the probability of</p>
        <p className="small soft">
          Left alone, it is the answer of a prompt of the run, and the likeliest token of any other.
        </p>
        <TokenInput
          label="Token that effects are on"
          placeholder={token === null ? '' : visible(token)}
          input={input}
          onChoose={(et) => bench.set({ et })}
        />
        {bench.search.et && (
          <button type="button" className="link-btn small" onClick={() => bench.set({ et: undefined })}>
            Back to the answer
          </button>
        )}
      </div>
    </Popover>
  )
}
