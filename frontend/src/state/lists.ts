/** The addresses of the lists: search, order and filters. */
import type { ComponentFilter } from '@/api/queries'
import type { ComponentSort } from '@/api/types'
import { noteProblems } from './problems'
import { SearchReader } from './search'

export const COMPONENT_SORTS = [
  'key',
  'mean_ci',
  'max_ci',
  'density',
  'effect',
  'label',
  'label_f1',
] as const satisfies readonly ComponentSort[]

export interface ComponentsSearch {
  q?: string
  site?: string
  sort?: ComponentSort
  order?: 'asc' | 'desc'
  alive?: 'all' | 'dead'
}

function readView(read: SearchReader): ComponentsSearch {
  return {
    q: read.text('q', 200),
    site: read.text('site'),
    sort: read.choice('sort', COMPONENT_SORTS),
    order: read.choice('order', ['asc', 'desc']),
    alive: read.choice('alive', ['all', 'dead']),
  }
}

export function validateComponents(raw: Record<string, unknown>): ComponentsSearch {
  const read = new SearchReader(raw)
  const search = readView(read)
  noteProblems('components', read.problems)
  return search
}

/** The address of one component: the list it was opened from, the harvest, the quantile, and a text that is tried. */
export interface ComponentSearch extends ComponentsSearch {
  harvest?: string
  show?: Quantile
  text?: string
}

export const QUANTILES = ['top', '90-100', '50-90', '10-50'] as const
export type Quantile = (typeof QUANTILES)[number]
export const MAX_TRIED = 2000

export function validateComponent(raw: Record<string, unknown>): ComponentSearch {
  const read = new SearchReader(raw)
  const search = {
    ...readView(read),
    harvest: read.text('harvest', 200),
    show: read.choice('show', QUANTILES),
    text: read.text('text', MAX_TRIED),
  }
  noteProblems('component', read.problems)
  return search
}

export const defaultSort: ComponentSort = 'effect'
export const defaultOrder = (sort: ComponentSort) => (sort === 'key' || sort === 'label' ? 'asc' : 'desc')

/** The request of an address. */
export function componentFilter(search: ComponentsSearch): ComponentFilter {
  const sort = search.sort ?? defaultSort
  return {
    q: search.q,
    site: search.site,
    sort,
    order: search.order ?? defaultOrder(sort),
    alive: search.alive === 'all' ? undefined : search.alive !== 'dead',
  }
}

/** The part of a component's address that names the list. */
export const listOf = ({ q, site, sort, order, alive }: ComponentsSearch): ComponentsSearch => ({
  q,
  site,
  sort,
  order,
  alive,
})

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
