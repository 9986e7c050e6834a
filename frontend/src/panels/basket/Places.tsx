import type { Token } from '@/api/types'
import { visible } from '@/api/words'
import type { BasketEntry } from '@/state/basket'
import { Button, Seg } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Popover } from '@/ui/surfaces'
import './basket.css'

/** Where an entry acts: at all positions, at selected ones, or from one onwards. */
export function Places(props: {
  name: string
  entry: BasketEntry
  tokens: Token[]
  keeps: boolean
  onChange: (entry: BasketEntry) => void
}) {
  const { entry, tokens, onChange } = props
  const chosen = entry.positions
  const start = entry.start ?? null
  const how = chosen !== null ? 'chosen' : start !== null ? 'from' : 'all'
  const summary = chosen !== null ? `at ${chosen.join(', ')}` : start !== null ? `from ${start}` : 'all'
  const last = Math.max(0, tokens.length - 1)
  const put = (positions: number[] | null, from: number | null) =>
    onChange({ ...entry, positions, start: from })
  const choose = (next: 'all' | 'chosen' | 'from') =>
    next === 'all'
      ? put(null, null)
      : next === 'chosen'
        ? put([start ?? last], null)
        : put(null, chosen?.[0] || Math.min(1, last))
  const toggle = (position: number) => {
    const now = chosen ?? []
    const next = now.includes(position)
      ? now.filter((p) => p !== position)
      : [...now, position].sort((a, b) => a - b)
    put(next.length === 0 ? null : next, null)
  }
  const pressed = (i: number) => (chosen ? chosen.includes(i) : start !== null && i >= start)
  const beyond = (chosen ?? []).filter((position) => position > last)
  return (
    <Popover
      label={`Positions of ${props.name}`}
      trigger={
        <Button kind="quiet" size="small" aria-label={`Positions of ${props.name}: ${summary}`}>
          {summary} <Icon name="down" />
        </Button>
      }
    >
      <div className="positions">
        <p className="field-label">{props.keeps ? 'Keep it at' : 'Suppress it at'}</p>
        <Seg
          label="Where it acts"
          value={how}
          options={[
            { value: 'all', label: 'all positions' },
            { value: 'chosen', label: 'selected' },
            { value: 'from', label: 'from one onwards' },
          ]}
          onChange={choose}
        />
        <div className="chips places">
          {tokens.map((token, i) => (
            <Button
              key={i}
              size="small"
              kind={pressed(i) ? 'primary' : 'plain'}
              aria-pressed={pressed(i)}
              onClick={() => (how === 'from' ? put(null, i === 0 ? null : i) : toggle(i))}
            >
              <small>{i}</small> <span className="mono">{visible(token.piece)}</span>
            </Button>
          ))}
        </div>
        {beyond.length > 0 && (
          <p className="small soft">
            {beyond.join(', ')}: past the end of this prompt; {beyond.length === 1 ? 'it acts' : 'they act'}{' '}
            in longer ones.
          </p>
        )}
        <p className="small soft">Positions count from 0 in every prompt.</p>
      </div>
    </Popover>
  )
}
