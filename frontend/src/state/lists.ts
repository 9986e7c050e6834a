/** The addresses of the lists: what is searched, sorted and filtered. */
import type { ComponentSort } from '@/api/types'
import { SearchReader, tidy, type WithProblems } from './search'

export const COMPONENT_SORTS = [
  'key',
  'mean_ci',
  'max_ci',
  'density',
  'label',
] as const satisfies readonly ComponentSort[]

export interface ComponentsSearch extends WithProblems {
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
  return tidy(search, read.problems)
}

export interface FindingsSearch extends WithProblems {
  q?: string
  decomposition?: string
}

export function validateFindings(raw: Record<string, unknown>): FindingsSearch {
  const read = new SearchReader(raw)
  return tidy({ q: read.text('q', 200), decomposition: read.text('decomposition', 200) }, read.problems)
}
