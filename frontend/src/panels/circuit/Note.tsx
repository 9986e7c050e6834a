import { useEffect, useState } from 'react'
import { NOTE_LENGTH } from '@/state/circuit'
import './circuit.css'

/** A remark on a node, kept in the address. */
export function Note(props: { of: string; text: string; onText: (text: string) => void }) {
  const [text, setText] = useState(props.text)
  useEffect(() => setText(props.text), [props.text])
  return (
    <label className="circuit-note">
      <span className="soft">Note</span>
      <input
        className="input"
        value={text}
        maxLength={NOTE_LENGTH}
        placeholder="kept in the link"
        aria-label={`Note on ${props.of}`}
        onChange={(event) => setText(event.target.value)}
        onBlur={() => text !== props.text && props.onText(text)}
        onKeyDown={(event) => event.key === 'Enter' && props.onText(text)}
      />
    </label>
  )
}
