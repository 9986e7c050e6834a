import { useEffect, useState } from 'react'
import type { Group, Token } from '@/api/types'
import { plural, shortKey, visible } from '@/api/words'
import { type BasketEntry, LEAST_STRENGTH, MOST_STRENGTH, readStrength, strengthWord } from '@/state/basket'
import { useDebounced } from '@/state/hooks'
import { Button, Slider } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Places } from './Places'
import './basket.css'

/** One component or group in a basket: its strength, and the positions it is suppressed (or kept) at. */
export function Entry(props: {
  entry: BasketEntry
  group: Group | undefined
  label: string | undefined
  tokens: Token[]
  keeps: boolean
  onChange: (entry: BasketEntry) => void
  onRemove: () => void
}) {
  const { entry, group, onChange } = props
  const name = entry.kind === 'group' ? visible(group?.token ?? entry.name) : shortKey(entry.name)
  const [strength, setStrength] = useState(entry.strength)
  const [typed, setTyped] = useState<string | null>(null)
  const settled = useDebounced(strength, 90)
  useEffect(() => {
    setStrength(entry.strength)
    setTyped(null)
  }, [entry.strength])
  // biome-ignore lint/correctness/useExhaustiveDependencies: only a moved slider or a typed number sends
  useEffect(() => {
    if (settled === strength && settled !== entry.strength) onChange({ ...entry, strength: settled })
  }, [settled])
  const wrong = typed !== null && readStrength(typed) === null
  const type = (text: string) => {
    setTyped(text)
    const value = readStrength(text)
    if (value !== null) setStrength(value)
  }
  return (
    <li className="entry">
      <span className="entry-name">
        <b className="mono">{name}</b>
        <small>
          {strength !== 1 && <span className="entry-factor">{strengthWord(strength, props.keeps)}</span>}{' '}
          {group ? plural(group.components.length, 'component') : (props.label ?? '')}
        </small>
      </span>
      <Slider
        label={`Strength of ${name}`}
        min={LEAST_STRENGTH}
        max={MOST_STRENGTH}
        value={strength}
        onChange={(value) => {
          setTyped(null)
          setStrength(value)
        }}
      />
      <input
        className="input num entry-strength"
        aria-label={`Strength of ${name} as a number`}
        aria-invalid={wrong || undefined}
        inputMode="decimal"
        maxLength={12}
        value={typed ?? String(Number(strength.toFixed(3)))}
        onChange={(event) => type(event.target.value)}
        onBlur={() => !wrong && setTyped(null)}
        onKeyDown={(event) => event.key === 'Escape' && setTyped(null)}
      />
      <Places name={name} entry={entry} tokens={props.tokens} keeps={props.keeps} onChange={onChange} />
      <Button
        kind="quiet"
        size="small"
        icon
        aria-label={`Remove ${name} from the basket`}
        onClick={props.onRemove}
      >
        <Icon name="close" />
      </Button>
      {wrong && (
        <p className="entry-problem" role="alert">
          “{typed}” is not a strength: type a number from −2 to 3. It is still {Number(strength.toFixed(3))}.{' '}
          <button type="button" className="link-btn" onClick={() => setTyped(null)}>
            Reset
          </button>
        </p>
      )}
    </li>
  )
}
