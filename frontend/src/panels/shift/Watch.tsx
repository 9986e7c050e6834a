import { visible } from '@/api/words'
import { useTokenInput } from '@/state/useTokenInput'
import type { Workbench } from '@/state/useWorkbench'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Popover } from '@/ui/surfaces'
import { TokenInput } from '@/ui/TokenInput'

const MOST = 32

/** Tokens that stay in the tables at any rank. */
export function Watch({ bench }: { bench: Workbench }) {
  const input = useTokenInput(bench.id, bench.offers)
  const put = (tokens: string[]) => bench.set({ w: tokens.length === 0 ? [''] : tokens })
  return (
    <Popover
      label="Watched tokens"
      trigger={
        <Button size="small">
          <Icon name="eye" /> <span className="hidden-visually">Watching</span> {bench.watch.length}
        </Button>
      }
    >
      <div className="watch">
        <p className="field-label">Watched tokens</p>
        <p className="small soft">They stay in the tables at any rank, and in the address.</p>
        <ul className="chips">
          {bench.watch.map((token) => (
            <li key={token}>
              <Button
                size="small"
                aria-label={`Stop watching ${visible(token)}`}
                onClick={() => put(bench.watch.filter((other) => other !== token))}
              >
                <span className="mono">{visible(token)}</span> <Icon name="close" />
              </Button>
            </li>
          ))}
        </ul>
        {bench.watch.length < MOST ? (
          <TokenInput
            label="Token to watch"
            placeholder="tennis"
            input={input}
            onChoose={(token) => !bench.watch.includes(token) && put([...bench.watch, token])}
          />
        ) : (
          <p className="small soft">{MOST} tokens are watched, as many as fit. Remove one to add another.</p>
        )}
        {bench.search.w && (
          <button type="button" className="link-btn small" onClick={() => bench.set({ w: undefined })}>
            Reset to the run’s answers
          </button>
        )}
      </div>
    </Popover>
  )
}
