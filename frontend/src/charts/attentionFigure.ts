/** An attention pattern as SVG text. */
import { visible } from '@/api/words'
import { escaped } from './export'
import { shade } from './HeadMap'

const [CELL, LEFT] = [9, 92]

export function attentionSvg(values: number[][], tokens: string[], difference: boolean): string {
  const style = getComputedStyle(document.documentElement)
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim()
  const font = `font-family='${colour('mono')}' font-size="8" fill="${colour('soft')}"`
  const size = tokens.length * CELL
  const parts: string[] = []
  values.forEach((row, q) => {
    parts.push(
      `<text x="${LEFT - 5}" y="${q * CELL + 7}" text-anchor="end" ${font}>${escaped(visible(tokens[q] ?? '').slice(0, 16))}</text>`,
    )
    row.forEach((value, k) => {
      const ink = difference ? (value < 0 ? colour('down') : colour('up')) : colour('ink')
      parts.push(
        `<rect x="${LEFT + k * CELL}" y="${q * CELL}" width="${CELL}" height="${CELL}" fill="${colour('sunk')}"/>`,
        `<rect x="${LEFT + k * CELL}" y="${q * CELL}" width="${CELL}" height="${CELL}" fill="${ink}" fill-opacity="${shade(value).toFixed(3)}"/>`,
      )
    })
  })
  const [width, height] = [LEFT + size + 4, size + 4]
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${parts.join('')}</svg>`
}
