/** A line through measured points, with both axes labelled. */
import type { Ref } from 'react'
import { figure } from '@/api/words'

const [WIDTH, HEIGHT] = [420, 190]
const [LEFT, RIGHT, TOP, BOTTOM] = [52, 12, 14, 34]

export function LineChart(props: {
  title: string
  xLabel: string
  yLabel: string
  points: { x: number; y: number }[]
  /** The smallest top of the y axis, so that noise is not magnified. */
  least?: number
  format?: (y: number) => string
  ref?: Ref<SVGSVGElement>
}) {
  const { points, format = figure } = props
  const xs = points.map((point) => point.x)
  const ys = points.map((point) => point.y)
  const [x0, x1] = [Math.min(...xs, 0), Math.max(...xs, 1)]
  const [y0, y1] = [Math.min(0, ...ys), Math.max(props.least ?? 0, ...ys, 1e-12)]
  const px = (x: number) => LEFT + ((x - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT)
  const py = (y: number) => HEIGHT - BOTTOM - ((y - y0) / (y1 - y0 || 1)) * (HEIGHT - TOP - BOTTOM)
  const sorted = [...points].sort((a, b) => a.x - b.x)
  const words = `${props.title}: ${sorted.map((point) => `${figure(point.x)} → ${format(point.y)}`).join(', ')}`
  return (
    <svg
      className="line-chart"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={words}
      ref={props.ref}
    >
      {[0, 0.5, 1].map((share) => {
        const y = y0 + share * (y1 - y0)
        return (
          <g key={share}>
            <line className="axis" x1={LEFT} x2={WIDTH - RIGHT} y1={py(y)} y2={py(y)} />
            <text className="tick" x={LEFT - 6} y={py(y) + 4} textAnchor="end">
              {y === 0 ? '0' : format(y)}
            </text>
          </g>
        )
      })}
      {[0, 0.25, 0.5, 0.75, 1].map((share) => {
        const x = x0 + share * (x1 - x0)
        return (
          <text className="tick" key={share} x={px(x)} y={HEIGHT - BOTTOM + 15} textAnchor="middle">
            {figure(x)}
          </text>
        )
      })}
      <text className="tick" x={(LEFT + WIDTH - RIGHT) / 2} y={HEIGHT - 4} textAnchor="middle">
        {props.xLabel}
      </text>
      <text className="tick" x={LEFT} y={9}>
        {props.yLabel}
      </text>
      <polyline className="line" points={sorted.map((point) => `${px(point.x)},${py(point.y)}`).join(' ')} />
      {sorted.map((point) => (
        <circle className="dot" key={point.x} cx={px(point.x)} cy={py(point.y)} r="3">
          <title>{`${figure(point.x)}: ${format(point.y)}`}</title>
        </circle>
      ))}
    </svg>
  )
}
