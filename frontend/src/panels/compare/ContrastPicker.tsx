import { useState } from 'react'
import { visible } from '@/api/words'
import type { TokenRef } from '@/state/useComparison'
import { useTokenInput } from '@/state/useTokenInput'
import type { Workbench } from '@/state/useWorkbench'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Popover } from '@/ui/surfaces'
import { TokenInput } from '@/ui/TokenInput'

/** The two tokens of the logit difference. */
export function ContrastPicker({
  bench,
  contrast,
}: {
  bench: Workbench
  contrast: [TokenRef, TokenRef] | null
}) {
  const [first, setFirst] = useState('')
  const [second, setSecond] = useState('')
  const [boxA, boxB] = [useTokenInput(bench.id, bench.offers), useTokenInput(bench.id, bench.offers)]
  const names = contrast?.map(({ name }) => name) ?? ['', '']
  const put = (one: string, other: string) => {
    if (one !== '' && other !== '') bench.set({ d: [one, other] })
    setFirst('')
    setSecond('')
  }
  const one = first || (names[0] ?? '')
  const other = second || (names[1] ?? '')
  return (
    <Popover
      label="Tokens of the logit difference"
      trigger={
        <Button size="small">
          {contrast ? (
            <span className="mono">
              {visible(names[0] ?? '')} − {visible(names[1] ?? '')}
            </span>
          ) : (
            'select two tokens'
          )}{' '}
          <Icon name="down" />
        </Button>
      }
    >
      <div className="watch">
        <p className="small soft">
          The logit of the first token minus that of the second: the model’s preference, unaffected by shifts
          common to all logits.
        </p>
        <TokenInput
          input={boxA}
          label="First token"
          placeholder={visible(names[0] ?? '')}
          onChoose={(token) => (other === '' ? setFirst(token) : put(token, other))}
        />
        <TokenInput
          input={boxB}
          label="Second token"
          placeholder={visible(names[1] ?? '')}
          onChoose={(token) => (one === '' ? setSecond(token) : put(one, token))}
        />
        {bench.search.d && (
          <button type="button" className="link-btn small" onClick={() => bench.set({ d: undefined })}>
            Reset to the answers of the prompts
          </button>
        )}
      </div>
    </Popover>
  )
}
