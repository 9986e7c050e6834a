/** One bar per token as SVG text, for the KL strip and other values by position. */
import { nats, visible } from '@/api/words'
import { escaped } from './export'

const [LEFT, HEIGHT, STEP] = [46, 150, 34]

/** `values` from 0; `unit` heads the axis. `max` is the top of the axis, so that figures beside each other compare. */
export function barsSvg({ tokens, values, unit, max }: BarsFigure): string {
  const style = getComputedStyle(document.documentElement)
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim()
  const top = max ?? Math.max(...values, 1e-12)
  const longest = Math.max(1, ...tokens.map((token) => Math.min(24, visible(token).length)))
  const foot = 22 + longest * 6.4
  const width = LEFT + tokens.length * STEP + 10
  const font = `font-family='${colour('mono')}' font-size="10.5" fill="${colour('soft')}"`
  const parts = [0, 0.5, 1].map((share) => {
    const y = 16 + HEIGHT * (1 - share)
    return `<line x1="${LEFT}" x2="${width}" y1="${y}" y2="${y}" stroke="${colour('line')}"/><text x="${LEFT - 6}" y="${y + 3.5}" text-anchor="end" ${font}>${share === 0 ? '0' : nats(top * share)}</text>`
  })
  parts.push(`<text x="${LEFT}" y="9" ${font}>${escaped(unit)}</text>`)
  tokens.forEach((token, i) => {
    const height = Math.max(0, Math.min(1, (values[i] ?? 0) / top)) * HEIGHT
    const x = LEFT + i * STEP
    const middle = x + STEP / 2 + 3.5
    const name = visible(token)
    parts.push(
      `<rect x="${x + 5}" y="${(16 + HEIGHT - height).toFixed(2)}" width="${STEP - 10}" height="${height.toFixed(2)}" fill="${colour('accent')}"/>`,
      `<text x="${middle}" y="${HEIGHT + 24}" text-anchor="end" transform="rotate(-90 ${middle} ${HEIGHT + 24})" ${font}>${escaped(name.length > 24 ? `${name.slice(0, 23)}…` : name)}</text>`,
    )
  })
  const height = Math.ceil(HEIGHT + foot + 12)
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${parts.join('')}</svg>`
}

interface BarsFigure {
  tokens: string[]
  values: number[]
  unit: string
  max?: number
}
