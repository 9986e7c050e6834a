import { nats } from '@/api/words'

/** One bar per position from 0 to `max`, with a whisker from low to high where there is a band. */
export function BandBars(props: {
  label: string
  values: number[]
  low: number[] | null
  high: number[] | null
  max: number
  mark: number
}) {
  const { values, low, high, max } = props
  const step = 100 / Math.max(1, values.length)
  const y = (value: number) => 33 - Math.max(0, Math.min(1, value / max)) * 32
  const words = `${props.label}: ${nats(values[props.mark] ?? 0)} nats at position ${props.mark}, at most ${nats(Math.max(...values))}`
  return (
    <svg className="band-bars" viewBox="0 0 100 34" preserveAspectRatio="none" role="img" aria-label={words}>
      <line className="ground" x1="0" x2="100" y1="33.5" y2="33.5" />
      {values.map((value, i) => (
        <rect
          key={i}
          className={i === props.mark ? 'bar mark' : 'bar'}
          x={i * step + step * 0.12}
          width={step * 0.76}
          y={y(value)}
          height={Math.max(0.6, 33 - y(value))}
        />
      ))}
      {low &&
        high &&
        values.map((_, i) => (
          <line
            key={i}
            className="whisker"
            x1={(i + 0.5) * step}
            x2={(i + 0.5) * step}
            y1={y(low[i] ?? 0)}
            y2={y(high[i] ?? 0)}
          />
        ))}
    </svg>
  )
}
