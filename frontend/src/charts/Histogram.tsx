/** Bars over equal bins, drawn as SVG: counts on a logarithmic scale, so that rare values remain visible. */
import { count } from '@/api/words'

export interface HistogramProps {
  /** What is counted, for screen readers. */
  label: string
  low: number
  high: number
  counts: number[]
  /** A part of each count, drawn in the accent colour in front of the whole. */
  part?: number[]
  /** The names of a count and its part in the table. */
  names?: [string, string]
  /** The format of a number on the axis. */
  axis?: (value: number) => string
}

const WIDTH = 340
const HEIGHT = 120
const FOOT = 18
const LEFT = 34

/** 0 for none, then logarithmic, with 1 already visible. */
export const logHeight = (n: number, top: number): number =>
  n <= 0 ? 0 : (Math.log10(n) + 0.35) / (Math.log10(Math.max(top, 1)) + 0.35)

export function Histogram(props: HistogramProps) {
  const { counts, part, low, high, axis = (value: number) => String(Number(value.toPrecision(3))) } = props
  const top = Math.max(1, ...counts)
  const room = HEIGHT - FOOT - 6
  const width = (WIDTH - LEFT) / counts.length
  const ticks = Array.from({ length: Math.floor(Math.log10(top)) + 1 }, (_, power) => 10 ** power)
  const shown = ticks.filter((_, i) => ticks.length < 5 || i % 2 === 0)
  const y = (n: number) => HEIGHT - FOOT - logHeight(n, top) * room
  const edge = (i: number) => low + ((high - low) * i) / counts.length
  return (
    <div className="histogram">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} aria-hidden="true">
        {shown.map((tick) => (
          <g key={tick} className="tick">
            <line x1={LEFT} x2={WIDTH} y1={y(tick)} y2={y(tick)} />
            <text x={LEFT - 5} y={y(tick) + 3.5} textAnchor="end">
              {tick >= 1e4 ? `1e${Math.log10(tick)}` : tick}
            </text>
          </g>
        ))}
        {counts.map((n, i) => (
          <rect
            key={i}
            className={part ? 'whole' : 'bar'}
            x={LEFT + i * width + 0.5}
            width={Math.max(1, width - 1)}
            y={y(n)}
            height={Math.max(0, HEIGHT - FOOT - y(n))}
          />
        ))}
        {part?.map((n, i) => (
          <rect
            key={i}
            className="bar"
            x={LEFT + i * width + 0.5}
            width={Math.max(1, width - 1)}
            y={y(n)}
            height={Math.max(0, HEIGHT - FOOT - y(n))}
          />
        ))}
        <line className="axis" x1={LEFT} x2={WIDTH} y1={HEIGHT - FOOT} y2={HEIGHT - FOOT} />
        <text x={LEFT} y={HEIGHT - 4}>
          {axis(low)}
        </text>
        <text x={(LEFT + WIDTH) / 2} y={HEIGHT - 4} textAnchor="middle">
          {axis((low + high) / 2)}
        </text>
        <text x={WIDTH} y={HEIGHT - 4} textAnchor="end">
          {axis(high)}
        </text>
      </svg>
      <table className="hidden-visually">
        <caption>{props.label}</caption>
        <thead>
          <tr>
            <th scope="col">from</th>
            <th scope="col">to</th>
            <th scope="col">{props.names?.[0] ?? 'positions'}</th>
            {part && <th scope="col">{props.names?.[1] ?? 'part'}</th>}
          </tr>
        </thead>
        <tbody>
          {counts.map((n, i) =>
            n > 0 ? (
              <tr key={i}>
                <td>{axis(edge(i))}</td>
                <td>{axis(edge(i + 1))}</td>
                <td>{count(n)}</td>
                {part && <td>{count(part[i] ?? 0)}</td>}
              </tr>
            ) : null,
          )}
        </tbody>
      </table>
    </div>
  )
}
