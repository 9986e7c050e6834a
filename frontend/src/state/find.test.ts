import { expect, test } from 'vitest'
import type { DecompositionSummary } from '@/api/types'
import { found } from './find'

const one = {
  id: 'sports',
  title: 'Athletes',
  description: 'Two facts.',
  model: { name: 'SmolLM2' },
  tags: ['first try'],
} as DecompositionSummary

test('every word is to be found somewhere, in whatever case', () => {
  for (const search of ['', ' ', 'ATHL', 'smollm facts', 'first', 'try sports'])
    expect(found(one, search)).toBe(true)
  for (const search of ['bible', 'facts bible']) expect(found(one, search)).toBe(false)
})
