import { signed, visible } from '@/api/words'

/** Effects over the tokens of a prompt: a bar up where suppressing raises log p, down where it lowers it. `top` is the
 * size of a whole bar, nats. */
export function EffectStrip({
  values,
  top,
  tokens,
  label,
  mark,
}: {
  values: ArrayLike<number>
  top: number
  tokens: string[]
  label: string
  mark?: number | null
}) {
  const list = Array.from(values)
  const step = 100 / Math.max(1, list.length)
  const sizes = list.map(Math.abs)
  const most = sizes.indexOf(Math.max(...sizes))
  const words =
    list.length > 0
      ? `${label}, largest ${signed(list[most] ?? 0, 2)} nats at ${visible(tokens[most] ?? '')}`
      : label
  return (
    <svg className="strip" viewBox="0 0 100 20" preserveAspectRatio="none" role="img" aria-label={words}>
      {mark !== null && mark !== undefined && (
        <rect x={mark * step} y="0" width={step} height="20" className="strip-mark" />
      )}
      <rect x="0" y="9.6" width="100" height="0.8" className="strip-line" />
      {list.map((value, i) => {
        const height = Math.min(1, Math.abs(value) / Math.max(top, 1e-9)) * 9.5
        if (height < 0.3) return null
        return (
          <rect
            key={i}
            x={i * step + step * 0.1}
            y={value > 0 ? 10 - height : 10}
            width={step * 0.8}
            height={height}
            className={value > 0 ? 'strip-up' : 'strip-down'}
          />
        )
      })}
    </svg>
  )
}
