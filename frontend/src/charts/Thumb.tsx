import type { Thumbnail } from '@/api/types'
import { visible } from '@/api/words'
import { level, usePalette } from './palette'

/** A thumbnail of a decomposition: rows are layers or sites, columns the tokens of one prompt. */
export function Thumb({ thumbnail }: { thumbnail: Thumbnail }) {
  const { ramp } = usePalette()
  const columns = thumbnail.tokens.length
  const rows = thumbnail.rows.length
  const text = thumbnail.tokens.join('')
  return (
    <figure className="thumb">
      <svg
        viewBox={`0 0 ${columns * 10} ${rows * 10}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`Causal importance of “${text}”, ${rows} rows from ${thumbnail.rows[0]} to ${thumbnail.rows.at(-1)}`}
      >
        {thumbnail.values.flatMap((row, r) =>
          row.map((value, c) => (
            <rect
              key={`${r}.${c}`}
              x={c * 10 + 0.4}
              y={r * 10 + 0.6}
              width={9.2}
              height={8.8}
              fill={ramp[level(value, 'linear')]}
            />
          )),
        )}
      </svg>
      {columns <= 12 && (
        <figcaption aria-hidden="true" style={{ gridTemplateColumns: `repeat(${columns}, 1fr)` }}>
          {thumbnail.tokens.map((token, i) => (
            <span key={i}>{visible(token)}</span>
          ))}
        </figcaption>
      )}
    </figure>
  )
}
