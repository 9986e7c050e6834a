import type { Token } from '@/api/types'
import { visible } from '@/api/words'
import { Piece } from '@/ui/Piece'
import './prompts.css'

/** A prompt as its tokens: each a button with its position and id, boundaries visible. */
export function TokenStrip(props: {
  name: string
  tokens: Token[]
  selected?: number | null
  onSelect?: (position: number) => void
}) {
  return (
    <span className={`tokens ${props.tokens.length > 40 ? 'long' : ''}`}>
      {props.tokens.map((token, i) => (
        <button
          type="button"
          key={i}
          className="token"
          aria-pressed={props.onSelect ? props.selected === i : undefined}
          aria-label={`${props.name}, token ${i}, ${visible(token.piece)}, id ${token.id}`}
          onClick={() => props.onSelect?.(i)}
        >
          <Piece text={token.piece} />
          <span className="token-info" aria-hidden="true">
            <b>{i}</b> id {token.id}
          </span>
        </button>
      ))}
    </span>
  )
}
