/** The addresses of the lists: what is searched, sorted and filtered. */
import type { ComponentSort } from '@/api/types'
import { noteProblems } from './problems'
import { SearchReader } from './search'

export const COMPONENT_SORTS = [
  'key',
  'mean_ci',
  'max_ci',
  'density',
  'label',
] as const satisfies readonly ComponentSort[]

export interface ComponentsSearch {
  q?: string
  site?: string
  sort?: ComponentSort
  order?: 'asc' | 'desc'
  alive?: 'all' | 'dead'
}

export function validateComponents(raw: Record<string, unknown>): ComponentsSearch {
  const read = new SearchReader(raw)
  const search = {
    q: read.text('q', 200),
    site: read.text('site'),
    sort: read.choice('sort', COMPONENT_SORTS),
    order: read.choice('order', ['asc', 'desc']),
    alive: read.choice('alive', ['all', 'dead']),
  }
  noteProblems('components', read.problems)
  return search
}

export interface FindingsSearch {
  q?: string
  decomposition?: string
}

export function validateFindings(raw: Record<string, unknown>): FindingsSearch {
  const read = new SearchReader(raw)
  const search = { q: read.text('q', 200), decomposition: read.text('decomposition', 200) }
  noteProblems('findings', read.problems)
  return search
}
