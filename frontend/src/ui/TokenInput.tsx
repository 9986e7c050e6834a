import { type KeyboardEvent, useId, useState } from 'react'
import { visible } from '@/api/words'

/** A field for one token, with suggestions below it, chosen by click or by arrow keys and Enter. */
export function TokenInput(props: {
  label: string
  placeholder?: string
  input: {
    text: string
    setText: (text: string) => void
    offers: { token: string; note: string }[]
    problem: string | null
  }
  onChoose: (token: string) => void
}) {
  const { text, setText, offers, problem } = props.input
  const id = useId()
  const [at, setAt] = useState(0)
  const chosen = Math.min(at, offers.length - 1)
  const take = (token: string) => {
    props.onChoose(token)
    setText('')
    setAt(0)
  }
  const key = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return // the keys belong to the input method
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault()
      setAt(Math.min(Math.max(chosen + (event.key === 'ArrowDown' ? 1 : -1), 0), offers.length - 1))
    }
    if (event.key === 'Enter') {
      event.preventDefault()
      const offer = offers[chosen]
      if (offer) take(offer.token)
    }
  }
  return (
    <div className="token-input">
      <label htmlFor={`${id}box`} className="field-label">
        {props.label}
      </label>
      <input
        id={`${id}box`}
        className="input mono"
        role="combobox"
        aria-expanded={offers.length > 0}
        aria-controls={`${id}list`}
        aria-autocomplete="list"
        aria-activedescendant={offers.length > 0 ? `${id}${chosen}` : undefined}
        aria-describedby={problem ? `${id}problem` : undefined}
        autoComplete="off"
        spellCheck={false}
        maxLength={80}
        placeholder={props.placeholder}
        value={text}
        onChange={(event) => {
          setText(event.target.value)
          setAt(0)
        }}
        onKeyDown={key}
      />
      <div id={`${id}list`} role="listbox" aria-label={`${props.label}: tokens`} className="token-offers">
        {offers.map((offer, i) => (
          <button
            type="button"
            role="option"
            tabIndex={-1}
            key={offer.token}
            id={`${id}${i}`}
            aria-selected={i === chosen}
            onClick={() => take(offer.token)}
          >
            <span className="mono">{visible(offer.token)}</span> <small>{offer.note}</small>
          </button>
        ))}
      </div>
      {problem && (
        <p id={`${id}problem`} className="field-warning" role="status">
          {problem}
        </p>
      )}
    </div>
  )
}
