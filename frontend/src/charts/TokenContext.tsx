import type { Token } from '@/api/types'
import { figure, signed, unit, visible } from '@/api/words'
import { level, usePalette } from './palette'

/**
 * Running text with each token on the colour of its CI and underlined by the size of its inner activation: in one
 * colour where positive, in another where negative. `at` is the sampled token. The numbers of a token are in its title
 * and, where it fires, in its text.
 */
export function TokenContext(props: {
  tokens: Token[]
  ci: number[]
  activation: number[]
  /** The largest |activation| of the whole list, so that underlines compare. */
  most: number
  at?: number
  /** Whether each token that fires shows its CI below it. */
  numbers?: boolean
}) {
  const { ramp, ink } = usePalette()
  return (
    <span className={`context ${props.numbers ? 'with-numbers' : ''}`}>
      {props.tokens.map((token, i) => {
        const ci = props.ci[i] ?? 0
        const activation = props.activation[i] ?? 0
        const colour = level(ci, 'linear')
        const size = props.most > 0 ? Math.min(1, Math.abs(activation) / props.most) : 0
        const words = `CI ${unit(ci)}, inner activation ${activation < 0 ? '−' : ''}${figure(Math.abs(activation))}`
        return (
          <span
            key={i}
            className={`context-token ${i === props.at ? 'at' : ''}`}
            style={ci > 0 ? { background: ramp[colour], color: ink[colour] } : undefined}
            title={words}
          >
            {visible(token.piece)}
            {ci > 0 && <span className="hidden-visually"> ({words})</span>}
            {props.numbers && (
              <small className="num">
                {ci > 0 ? unit(ci) : '·'}
                <br />
                {signed(activation, 2)}
              </small>
            )}
            <i
              className={activation < 0 ? 'down' : 'up'}
              style={{ width: `${size * 100}%` }}
              aria-hidden="true"
            />
          </span>
        )
      })}
    </span>
  )
}

/** The legend of shade and underline. */
export function ContextLegend({ most }: { most: number }) {
  const { gradient } = usePalette()
  return (
    <span className="legend">
      <span>CI 0</span>
      <span className="ramp" style={{ background: gradient }} aria-hidden="true" />
      <span>1</span>
      <span className="context-key up" aria-hidden="true" />
      <span>inner activation &gt; 0</span>
      <span className="context-key down" aria-hidden="true" />
      <span>&lt; 0, full width = {figure(most)}</span>
    </span>
  )
}
