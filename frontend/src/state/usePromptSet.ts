/** The basket on every prompt of a set, a request for some at a time. */
import { useQueries } from '@tanstack/react-query'
import { experiments } from '@/api/experiments'
import type { Group, Provenance } from '@/api/types'
import { expandBasket } from './basket'
import {
  basketOfSet,
  type PromptSetSearch,
  promptsOfSet,
  rowOf,
  type SetPrompt,
  type SetRow,
} from './promptSet'
import { promptBody } from './prompts'

const AT_ONCE = 8
/** No prompt is longer; the server passes over positions that a prompt lacks. */
const LONGEST = 100_000

export interface SetAnswer {
  prompts: SetPrompt[]
  /** In the order of the prompts; null: not there yet, or its answer is no token. */
  rows: (SetRow | null)[]
  pending: boolean
  error: unknown
  retry: () => void
  provenance: Provenance | null
  /** Names of the basket that are no group here. */
  unknown: string[]
}

export function usePromptSet(
  id: string,
  search: PromptSetSearch,
  groups: Map<string, Group>,
  ready: boolean,
): SetAnswer {
  const prompts = promptsOfSet(search)
  const { components, unknown } = expandBasket(basketOfSet(search), groups, LONGEST)
  const parts = Array.from({ length: Math.ceil(prompts.length / AT_ONCE) }, (_, i) =>
    prompts.slice(i * AT_ONCE, (i + 1) * AT_ONCE),
  )
  const answers = useQueries({
    queries: parts.map((part) => ({
      ...experiments.comparison(id, {
        prompts: part.map(({ spec }) => promptBody(spec)),
        a: { components },
        conditions: ['A'],
        watch: [...new Set(part.flatMap(({ answer }) => answer ?? []))],
      }),
      placeholderData: undefined,
      enabled: ready && components.length > 0,
    })),
  })
  const rows = prompts.map((prompt, index) => {
    const found = answers[Math.floor(index / AT_ONCE)]?.data?.prompts[index % AT_ONCE]
    return found ? rowOf(index, prompt.answer, found) : null
  })
  return {
    prompts,
    rows,
    pending: answers.some((one) => one.isFetching),
    error: answers.find((one) => one.error)?.error ?? null,
    retry: () => answers.filter((one) => one.error).map((one) => one.refetch()),
    provenance: answers.find((one) => one.data)?.data?.provenance ?? null,
    unknown,
  }
}
