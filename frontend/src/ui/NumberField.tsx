import { useEffect, useId, useState } from 'react'

/** A field for a whole number: invalid text gets a message beside the field and changes nothing. */
export function NumberField(props: {
  label: string
  value: number
  min: number
  max: number
  onChange: (value: number) => void
}) {
  const { value, min, max } = props
  const id = useId()
  const [text, setText] = useState(String(value))
  useEffect(() => setText(String(value)), [value])
  const read = (typed: string) => {
    const number = /^\s*\d+\s*$/.test(typed) ? Number(typed) : Number.NaN
    return number >= min && number <= max ? number : null
  }
  const wrong = read(text) === null
  const commit = () => {
    const number = read(text)
    if (number !== null && number !== value) props.onChange(number)
  }
  return (
    <span className="number-field">
      <label htmlFor={id}>{props.label}</label>
      <input
        id={id}
        className="input num"
        inputMode="numeric"
        maxLength={10}
        value={text}
        aria-invalid={wrong || undefined}
        aria-describedby={wrong ? `${id}problem` : undefined}
        onChange={(event) => setText(event.target.value)}
        onBlur={commit}
        onKeyDown={(event) => {
          if (event.key === 'Enter') commit()
          if (event.key === 'Escape') setText(String(value))
        }}
      />
      {wrong && (
        <span id={`${id}problem`} className="number-problem" role="alert">
          A whole number from {min} to {max}; still {value}.
        </span>
      )}
    </span>
  )
}
