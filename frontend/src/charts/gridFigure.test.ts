import { describe, expect, it } from 'vitest'
import { gridSvg, gridTable } from './gridFigure'

const rows = [
  { id: 'L0', kind: 'layer' as const, layer: 0, open: false, sites: ['a', 'b'] },
  { id: 'L1', kind: 'layer' as const, layer: 1, open: false, sites: ['c'] },
]
const tokens = [
  { id: 7, piece: '<b>' },
  { id: 8, piece: ' Woods' },
]
const block = { name: 'Prompt 1', tokens, values: new Float32Array([0, 0.5, 1, 0]), stale: false }

describe('the heatmap as a file', () => {
  it('draws a cell for every row and token, and escapes what tokens hold', () => {
    const svg = gridSvg({ rows, blocks: [block], show: 'max', scale: 'linear', top: 1, threshold: 0.1 })
    const parsed = new DOMParser().parseFromString(svg, 'image/svg+xml')
    expect(parsed.querySelector('parsererror')).toBeNull()
    expect(parsed.querySelectorAll('rect').length).toBe(4 + 64)
    expect(parsed.documentElement.textContent).toContain('<b>')
    expect(parsed.documentElement.textContent).toContain('␣Woods')
  })

  it('lists the cells that are not zero', () => {
    expect(gridTable({ rows, blocks: [block], show: 'max' }).rows).toEqual([
      { prompt: 'Prompt 1', row: 'L0', layer: 0, position: 1, token_id: 8, token: ' Woods', max_ci: 0.5 },
      { prompt: 'Prompt 1', row: 'L1', layer: 1, position: 0, token_id: 7, token: '<b>', max_ci: 1 },
    ])
  })
})
