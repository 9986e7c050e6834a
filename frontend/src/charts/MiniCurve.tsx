import { figure } from '@/api/words'

const [WIDTH, HEIGHT] = [180, 44]

/** A small line on a logarithmic scale where all values allow it. */
export function MiniCurve({
  points,
  label,
}: {
  points: { step: number; value: number | null }[]
  label: string
}) {
  const known = points.filter(
    (point): point is { step: number; value: number } => point.value !== null && Number.isFinite(point.value),
  )
  const log = known.every((point) => point.value > 0)
  const values = known.map((point) => (log ? Math.log10(point.value) : point.value))
  const [low, high] = [Math.min(...values), Math.max(...values)]
  const end = Math.max(1, known.at(-1)?.step ?? 1)
  const line = known.map((point, i) => {
    const x = (point.step / end) * WIDTH
    const y = HEIGHT - 3 - (((values[i] ?? low) - low) / Math.max(high - low, 1e-12)) * (HEIGHT - 6)
    return `${x.toFixed(1)},${y.toFixed(1)}`
  })
  return (
    <svg
      className="mini-curve"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={`${label}: from ${figure(known[0]?.value)} to ${figure(known.at(-1)?.value)}`}
    >
      <polyline points={line.join(' ')} />
    </svg>
  )
}
