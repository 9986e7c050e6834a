import type { Token } from '@/api/types'
import { signed, unit, visible } from '@/api/words'
import { level, usePalette } from './palette'

/** A text with each token on the colour of its CI; the numbers are in the text for screen readers. */
export function TokenShade({
  tokens,
  ci,
  activation,
}: {
  tokens: Token[]
  ci: number[]
  activation?: number[]
}) {
  const { ramp, ink } = usePalette()
  return (
    <span className="shade">
      {tokens.map((token, i) => {
        const value = ci[i] ?? 0
        const at = level(value, 'linear')
        return (
          <span key={i} className="shade-token" style={{ background: ramp[at], color: ink[at] }}>
            {visible(token.piece)}
            <small>
              {value > 0 ? unit(value) : '\u00a0'}
              {activation && value > 0 && (
                <span className="hidden-visually">, inner activation {signed(activation[i] ?? 0)}</span>
              )}
            </small>
          </span>
        )
      })}
    </span>
  )
}
