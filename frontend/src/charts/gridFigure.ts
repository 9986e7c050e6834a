/** The heatmap of causal importance as SVG text and as a table, from the data and not from the canvas. */
import { visible } from '@/api/words'
import { escaped } from './export'
import { type Block, cellText, type Row, rowName, SHOW_WORDS, type Show } from './grid'
import { level, makePalette } from './palette'

const [HEIGHT, GAP, LABEL, BETWEEN, LEGEND] = [21, 2, 150, 18, 40]
const MONO = '"JetBrains Mono Variable", "JetBrains Mono", monospace'

interface GridFigure {
  rows: Row[]
  blocks: Block[]
  show: Show
  scale: 'linear' | 'log'
  top: number
  /** CI below which cells are left blank; named in the legend. */
  threshold: number
}

const nameOf = (row: Row) =>
  row.kind === 'site' && row.layer !== null ? `L${row.layer} ${rowName(row)}` : rowName(row)

/** Rows are sites or folded layers, columns the tokens of each prompt, beside each other; the legend is below. */
export function gridSvg({ rows, blocks, show, scale, top, threshold }: GridFigure): string {
  const style = getComputedStyle(document.documentElement)
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim()
  const { ramp, ink } = makePalette([0, 1, 2, 3, 4, 5].map((i) => colour(`ci-${i}`)))
  const most = Math.max(...blocks.map((block) => block.tokens.length), 1)
  const wide = most <= 24
  const widths = blocks.map((block) =>
    block.tokens.map(({ piece }) =>
      wide ? Math.min(150, Math.max(40, visible(piece).length * 7.3 + 8)) : 20,
    ),
  )
  const longest = Math.max(
    1,
    ...blocks.flatMap((block) => block.tokens.map(({ piece }) => Math.min(24, visible(piece).length))),
  )
  const heads = (wide ? 34 : 24 + longest * 6.6) + (blocks.length > 1 ? 20 : 0)
  const parts: string[] = []
  const text = (x: number, y: number, words: string, more = '') =>
    parts.push(
      `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" font-family='${MONO}' font-size="10.5" fill="${colour('soft')}" ${more}>${escaped(words)}</text>`,
    )
  rows.forEach((row, r) => {
    text(LABEL - 8, heads + r * HEIGHT + 14.5, nameOf(row), 'text-anchor="end"')
  })
  let left = LABEL
  blocks.forEach((block, b) => {
    if (blocks.length > 1) text(left, 12, block.name, 'font-weight="600"')
    let x = left
    block.tokens.forEach((token, c) => {
      const width = widths[b]?.[c] ?? 20
      const middle = x + width / 2
      const name = visible(token.piece)
      const label = name.length > 24 ? `${name.slice(0, 23)}…` : name
      if (wide) {
        text(middle, heads - 19, String(c), 'text-anchor="middle" opacity="0.75"')
        text(middle, heads - 6, label, 'text-anchor="middle"')
      } else text(middle + 3.5, heads - 6, label, `transform="rotate(-90 ${middle + 3.5} ${heads - 6})"`)
      rows.forEach((_, r) => {
        const value = block.values[r * block.tokens.length + c] ?? 0
        const at = level(value, scale, top)
        const y = heads + r * HEIGHT
        parts.push(
          `<rect x="${(x + GAP / 2).toFixed(1)}" y="${y + 1}" width="${(width - GAP).toFixed(1)}" height="${HEIGHT - 2}" rx="${wide ? 3 : 0}" fill="${ramp[at]}"/>`,
        )
        if (wide && value > 0)
          text(middle, y + 14.5, cellText(value, show), `text-anchor="middle" style="fill:${ink[at]}"`)
      })
      x += width
    })
    left = x + BETWEEN
  })
  const bottom = heads + rows.length * HEIGHT + 14
  for (let i = 0; i < 64; i += 1)
    parts.push(`<rect x="${LABEL + i * 2}" y="${bottom}" width="2.2" height="10" fill="${ramp[i * 4]}"/>`)
  text(
    LABEL - 8,
    bottom + 9,
    `${SHOW_WORDS[show].legend} ${scale === 'log' ? 'log ' : ''}`,
    'text-anchor="end"',
  )
  text(
    LABEL + 134,
    bottom + 9,
    `${Number(top.toPrecision(2))} at the right end${threshold > 0 ? `; blank below ${threshold}` : ''}`,
  )
  const [width, height] = [Math.max(left, LABEL + 360), bottom + LEGEND - 20]
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${Math.ceil(width)}" height="${Math.ceil(height)}" viewBox="0 0 ${Math.ceil(width)} ${Math.ceil(height)}">${parts.join('')}</svg>`
}

/** The same cells as a table, one row per nonzero cell. */
export function gridTable({ rows, blocks, show }: Pick<GridFigure, 'rows' | 'blocks' | 'show'>) {
  const value = SHOW_WORDS[show].column
  return {
    columns: [
      { key: 'prompt' },
      { key: 'row' },
      { key: 'layer' },
      { key: 'position' },
      { key: 'token_id' },
      { key: 'token' },
      { key: value },
    ],
    rows: blocks.flatMap((block) =>
      rows.flatMap((row, r) =>
        block.tokens.flatMap((token, c) => {
          const cell = block.values[r * block.tokens.length + c] ?? 0
          if (cell === 0) return []
          const where = { prompt: block.name, row: row.id, layer: row.layer, position: c }
          return [{ ...where, token_id: token.id, token: token.piece, [value]: cell }]
        }),
      ),
    ),
  }
}
