import { useEffect, useRef } from 'react'
import { nats, visible } from '@/api/words'

/** Before above after, on one scale from 0 to `max`. */
export function PairBars({ before, after, max }: { before: number; after: number; max: number }) {
  const width = (p: number) => `${Math.max(p > 0 ? 1 : 0, Math.min(100, (p / max) * 100))}%`
  return (
    <span className="pair" aria-hidden="true">
      <i className="before" style={{ width: width(before) }} />
      <i
        className={`after ${after < before * 0.9 ? 'fell' : after > before * 1.1 ? 'rose' : ''}`}
        style={{ width: width(after) }}
      />
    </span>
  )
}

/** KL at every position above the tokens; each token is a button that selects its position. */
export function KLStrip(props: {
  tokens: string[]
  kl: number[]
  /** The same for every prompt beside it, so that heights compare. */
  max: number
  chosen: number
  label: string
  onChoose: (position: number) => void
}) {
  const box = useRef<HTMLFieldSetElement>(null)
  const { chosen } = props
  const length = props.tokens.length
  // In a long prompt the selected token is scrolled into view.
  useEffect(() => {
    const strip = box.current
    const token = length > 0 ? strip?.querySelectorAll<HTMLElement>('button')[chosen] : null
    if (strip && token) strip.scrollLeft = token.offsetLeft - strip.clientWidth / 2
  }, [chosen, length])
  return (
    <fieldset className="kl" ref={box}>
      <legend className="hidden-visually">{props.label}</legend>
      {props.tokens.map((token, i) => {
        const kl = props.kl[i] ?? 0
        const height = props.max > 0 ? (Math.max(kl, 0) / props.max) * 100 : 0
        return (
          <button
            type="button"
            key={i}
            className="kl-token"
            aria-pressed={i === props.chosen}
            aria-label={`Position ${i}, ${visible(token)}, KL ${nats(kl)} nats`}
            onClick={() => props.onChoose(i)}
          >
            <span className="kl-bar">
              <i style={{ height: `${height}%` }} />
            </span>
            <span className="kl-name">{visible(token)}</span>
          </button>
        )
      })}
    </fieldset>
  )
}

/** Fall and rise, the same two colours everywhere. */
export function DifferenceLegend() {
  return (
    <span className="legend">
      <span className="diff-key down" /> falls
      <span className="diff-key up" /> rises
    </span>
  )
}
