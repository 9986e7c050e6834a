import type { DecompositionSummary } from '@/api/types'

/** Whether a decomposition has every word of a search somewhere in what it is called, described and tagged with. */
export function found(d: DecompositionSummary, search: string): boolean {
  const said = [d.id, d.title, d.description, d.model.name, ...d.tags].join('\n').toLowerCase()
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => said.includes(word))
}
