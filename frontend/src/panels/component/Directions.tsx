/** What a component reads and writes: tokens of the vocabulary, neurons, or heads. */
import type { Direction } from '@/api/types'
import { signed, unit } from '@/api/words'
import { Piece } from '@/ui/Piece'
import { Empty, Panel } from '@/ui/surfaces'
import { FACE_WORDS } from './words'
import './component.css'

export function DirectionPanel({ title, side }: { title: 'Reads' | 'Writes'; side: Direction }) {
  const words = side.items.filter((item) => item.kind === 'token')
  const more = words.filter((item) => item.score > 0)
  const less = words.filter((item) => item.score <= 0).reverse()
  const writes = title === 'Writes'
  return (
    <Panel
      title={title}
      aside={`${writes ? 'to' : 'from'} ${FACE_WORDS[side.face]}${side.slice ? ` (${side.slice})` : ''}`}
    >
      {side.items.length === 0 && <Empty title="No tokens, neurons or heads to show" />}
      {words.length > 0 && (
        <div className="pad directions">
          <Words title={writes ? 'promotes' : 'fires more with'} items={more} />
          <Words title={writes ? 'suppresses' : 'fires less with'} items={less} />
          <p className="small faint">
            Cosine with {writes ? 'rows of the unembedding' : 'token embeddings'}
            {side.face === 'residual' && ', through the norm in between'}. Far from the{' '}
            {writes ? 'end' : 'start'} of the model these are a hint, not a proof.
          </p>
        </div>
      )}
      {words.length === 0 && side.items.length > 0 && (
        <ul className="pad parts">
          {side.items.map((item) => (
            <li key={`${item.kind}${item.number}`}>
              <span className="mono">
                {item.kind} {item.number}
              </span>
              <span className="meter" aria-hidden="true">
                <i
                  className={item.score < 0 ? 'down' : 'up'}
                  style={{ width: `${Math.min(1, Math.abs(item.score)) * 100}%` }}
                />
              </span>
              <span className="num">{item.kind === 'head' ? unit(item.score) : signed(item.score, 2)}</span>
            </li>
          ))}
          <li className="small faint">
            {side.items[0]?.kind === 'head'
              ? 'share of the squared length that lies in the head'
              : 'share of the direction, signed'}
          </li>
        </ul>
      )}
    </Panel>
  )
}

function Words({ title, items }: { title: string; items: Direction['items'] }) {
  if (items.length === 0) return null
  return (
    <div>
      <h3 className="small faint">{title}</h3>
      <p className="chips">
        {items.map((item) => (
          <span key={item.number} className="badge" title={`cosine ${signed(item.score, 3)}`}>
            <Piece text={item.token?.piece ?? ''} />
            <span className="num faint"> {signed(item.score, 2)}</span>
          </span>
        ))}
      </p>
    </div>
  )
}
