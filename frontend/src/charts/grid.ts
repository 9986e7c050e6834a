/** The types of the heatmap: rows, blocks and places. */
import type { Token } from '@/api/types'
import { siteTail } from '@/api/words'

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
  show: 'max' | 'count'
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

/** Height of a row, in pixels. */
export const ROW = 21

export const rowName = (row: Row) =>
  row.kind === 'layer' ? row.id : row.layer === null ? row.id : siteTail(row.id)
