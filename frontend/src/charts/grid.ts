/** The types of the heatmap: rows, blocks and places. */
import type { Token } from '@/api/types'
import { siteTail, unit } from '@/api/words'

export interface Row {
  id: string
  kind: 'layer' | 'site'
  layer: number | null
  open: boolean
  sites: string[]
}

export interface Block {
  name: string
  tokens: Token[]
  /** [rows][positions] */
  values: Float32Array
  stale: boolean
  /** Whether its values say little, so that it is drawn in grey. */
  muted?: boolean
  message?: string
}

export interface Place {
  block: number
  row: string | null
  column: number | null
}

export interface CIGridProps {
  rows: Row[]
  blocks: Block[]
  show: Show
  scale: 'linear' | 'log'
  top: number
  selected: Place
  onSelect: (place: Place) => void
  onFold: (layer: number) => void
  /** Whether blocks are headed by their names. */
  named?: boolean
  /** A hint, shown while nothing is selected. */
  hint: string
}

/** What a cell shows: the largest CI, how many components are in use, or their absolute effects summed, in nats. */
export type Show = 'max' | 'count' | 'effect'

export const SHOW_WORDS: Record<Show, { legend: string; caption: string; column: string }> = {
  max: { legend: 'CI', caption: 'Causal importance', column: 'max_ci' },
  count: { legend: 'components', caption: 'Components above the threshold', column: 'components' },
  effect: {
    legend: 'Σ |Δ log p|, nats',
    caption: 'Summed effect on the token, nats',
    column: 'summed_effect',
  },
}

/** A cell's value where it is narrow: `.98`, `12`, `1.3`. */
export function cellText(value: number, show: Show): string {
  if (show === 'max') return unit(value)
  if (show === 'count') return String(value)
  return value < 0.005 ? '' : value < 0.995 ? value.toFixed(2).replace(/^0/, '') : value.toFixed(1)
}

/** A cell in words. */
export function cellWords(value: number, show: Show): string {
  if (show === 'count') return `${value} above the threshold`
  if (show === 'effect') return `summed effect ${value.toPrecision(2)} nats`
  return value > 0 ? `max CI ${unit(value)}` : 'below the threshold'
}

/** Height of a row in pixels: many layers stay in sight at once, in rows without digits. */
export const rowHeight = (rows: number): number => (rows <= 14 ? 21 : rows <= 22 ? 16 : rows <= 27 ? 12 : 10)

export const rowName = (row: Row) =>
  row.kind === 'layer' ? row.id : row.layer === null ? row.id : siteTail(row.id)
