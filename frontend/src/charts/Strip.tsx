import { unit, visible } from '@/api/words'
import { level, usePalette } from './palette'

/** CI over the tokens of a prompt, as a row of bars in the colours of the scale. */
export function Strip({
  values,
  tokens,
  label,
  mark,
}: {
  values: ArrayLike<number>
  tokens: string[]
  label: string
  mark?: number | null
}) {
  const { ramp } = usePalette()
  const list = Array.from(values)
  const step = 100 / Math.max(1, list.length)
  const top = list.indexOf(Math.max(...list))
  const words =
    list.length > 0 ? `${label}, highest ${unit(list[top] ?? 0)} at ${visible(tokens[top] ?? '')}` : label
  return (
    <svg className="strip" viewBox="0 0 100 20" preserveAspectRatio="none" role="img" aria-label={words}>
      {mark !== null && mark !== undefined && (
        <rect x={mark * step} y="0" width={step} height="20" className="strip-mark" />
      )}
      {list.map((value, i) => {
        const height = Math.max(1, Math.min(1, value) * 19)
        return (
          <rect
            key={i}
            x={i * step + step * 0.1}
            y={20 - height}
            width={step * 0.8}
            height={height}
            fill={value > 0 ? ramp[Math.max(90, level(value, 'linear'))] : 'var(--line-strong)'}
          />
        )
      })}
    </svg>
  )
}
