import type { ComponentHarvest, Direction } from '@/api/types'

type Source = ComponentHarvest['affected'][number]['source']

/** Where a harvested text comes from, as it is shown. */
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
  other: 'a part of the model that has no name here',
}
