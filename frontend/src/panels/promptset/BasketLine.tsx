import type { Group } from '@/api/types'
import { shortKey } from '@/api/words'
import { type BasketEntry, encodeEntry, strengthWord } from '@/state/basket'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import './promptset.css'

/** What is suppressed on every prompt: the basket of the address, and the groups that can join it. */
export function BasketLine(props: {
  basket: BasketEntry[]
  groups: Group[]
  onBasket: (codes: string[] | undefined) => void
}) {
  const { basket, groups, onBasket } = props
  const store = (next: BasketEntry[]) => onBasket(next.length > 0 ? next.map(encodeEntry) : undefined)
  const left = groups.filter(
    (group) => !basket.some((one) => one.kind === 'group' && one.name === group.name),
  )
  return (
    <section className="set-basket" aria-label="Suppressed on every prompt">
      <b>Suppressed</b>
      {basket.map((entry) => {
        const name = entry.kind === 'group' ? entry.name : shortKey(entry.name)
        const word = strengthWord(entry.strength, false)
        return (
          <span key={encodeEntry(entry)} className="badge set-entry">
            <span className="mono">{name}</span>
            {word !== 'removed' && <span className="soft">{word}</span>}
            <Button
              kind="quiet"
              size="small"
              icon
              aria-label={`Take ${name} out`}
              onClick={() => store(basket.filter((one) => one !== entry))}
            >
              <Icon name="close" />
            </Button>
          </span>
        )
      })}
      {left.length > 0 && (
        <select
          className="input"
          aria-label="Add a group"
          value=""
          onChange={(event) =>
            store([...basket, { kind: 'group', name: event.target.value, strength: 1, positions: null }])
          }
        >
          <option value="" disabled>
            add a group…
          </option>
          {left.map((group) => (
            <option key={group.name} value={group.name}>
              {group.name} ({group.components.length})
            </option>
          ))}
        </select>
      )}
    </section>
  )
}
