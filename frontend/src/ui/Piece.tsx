import { visible } from '@/api/words'

const MARKS = /([␣↵⇥␍∅])/

/** A token's text with its spaces and newlines visible. User input only ever becomes a text node. */
export function Piece({ text }: { text: string }) {
  return (
    <span className="piece">
      {visible(text)
        .split(MARKS)
        .map((part, i) => (MARKS.test(part) ? <i key={i}>{part}</i> : part))}
    </span>
  )
}
