import { visible } from '@/api/words'

const MARKS = /([␣↵⇥␍∅])/

/** A token's text, its spaces and newlines visible. What a user typed is only ever a text node. */
export function Piece({ text }: { text: string }) {
  return (
    <span className="piece">
      {visible(text)
        .split(MARKS)
        .map((part, i) => (MARKS.test(part) ? <i key={i}>{part}</i> : part))}
    </span>
  )
}
