import type { ComponentHarvest, Direction } from '@/api/types'

type Source = ComponentHarvest['affected'][number]['source']

/** The origin of a harvested text. */
export const SOURCE_WORDS: Record<Source, string> = {
  train: 'trained on',
  held_out: 'held out',
  bystander: 'bystander',
  corpus: 'corpus',
  sequence: 'generated',
}

export const FACE_WORDS: Record<Direction['face'], string> = {
  residual: 'the residual stream',
  neurons: 'neurons',
  heads: 'attention heads',
  tokens: 'tokens',
  other: 'another basis',
}
