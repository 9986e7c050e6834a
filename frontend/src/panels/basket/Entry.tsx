import { useEffect, useState } from 'react'
import type { Group, Token } from '@/api/types'
import { plural, shortKey, visible } from '@/api/words'
import type { BasketEntry } from '@/state/basket'
import { useDebounced } from '@/state/hooks'
import { Button, Slider } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Popover } from '@/ui/surfaces'

/** One component or group in a basket: how much of it is removed, and at which positions. */
export function Entry(props: {
  entry: BasketEntry
  group: Group | undefined
  label: string | undefined
  tokens: Token[]
  onChange: (entry: BasketEntry) => void
  onRemove: () => void
}) {
  const { entry, group, onChange } = props
  const name = entry.kind === 'group' ? visible(group?.token ?? entry.name) : shortKey(entry.name)
  const [strength, setStrength] = useState(entry.strength)
  const settled = useDebounced(strength, 90)
  useEffect(() => setStrength(entry.strength), [entry.strength])
  // biome-ignore lint/correctness/useExhaustiveDependencies: only a moved slider sends
  useEffect(() => {
    if (settled === strength && settled !== entry.strength) onChange({ ...entry, strength: settled })
  }, [settled])
  const chosen = entry.positions
  const toggle = (position: number) => {
    const now = chosen ?? []
    const next = now.includes(position)
      ? now.filter((p) => p !== position)
      : [...now, position].sort((a, b) => a - b)
    onChange({ ...entry, positions: next.length === 0 ? null : next })
  }
  return (
    <li className="entry">
      <span className="entry-name">
        <b className="mono">{name}</b>
        <small>{group ? plural(group.components.length, 'component') : (props.label ?? '')}</small>
      </span>
      <Slider label={`Strength of ${name}`} value={strength} onChange={setStrength} />
      <span className="num">{strength.toFixed(2)}</span>
      <Popover
        label={`Positions of ${name}`}
        trigger={
          <Button
            kind="quiet"
            size="small"
            aria-label={`Positions of ${name}: ${chosen === null ? 'all' : chosen.join(', ')}`}
          >
            {chosen === null ? 'all' : `at ${chosen.join(', ')}`} <Icon name="down" />
          </Button>
        }
      >
        <div className="positions">
          <p className="field-label">Suppress it at</p>
          <div className="chips">
            <Button
              size="small"
              kind={chosen === null ? 'primary' : 'plain'}
              aria-pressed={chosen === null}
              onClick={() => onChange({ ...entry, positions: null })}
            >
              all positions
            </Button>
            {props.tokens.map((token, i) => (
              <Button
                key={i}
                size="small"
                kind={chosen?.includes(i) ? 'primary' : 'plain'}
                aria-pressed={chosen?.includes(i) ?? false}
                onClick={() => toggle(i)}
              >
                <small>{i}</small> <span className="mono">{visible(token.piece)}</span>
              </Button>
            ))}
          </div>
          <p className="small soft">Positions count from 0, in every prompt alike.</p>
        </div>
      </Popover>
      <Button
        kind="quiet"
        size="small"
        icon
        aria-label={`Remove ${name} from the basket`}
        onClick={props.onRemove}
      >
        <Icon name="close" />
      </Button>
    </li>
  )
}
