/** Every condition on every prompt, from one request. */
import { useQuery } from '@tanstack/react-query'
import { experiments } from '@/api/experiments'
import type { Comparison, ComparisonRequest, OutputShift } from '@/api/types'
import { expandBasket } from './basket'
import type { Asked } from './compare'
import { type Live, live } from './live'
import { promptBody } from './prompts'
import { shiftAt, subjectOf } from './shift'
import type { PromptView, Workbench } from './useWorkbench'
import { TOP_K } from './workbench'

const MAX_WATCH = 32

export interface TokenRef {
  ref: string | number
  name: string
}

/** The subject of a prompt, once its output is known. */
export function subjectOfPrompt(prompt: PromptView): OutputShift | null {
  const shift = prompt.shown.data && shiftAt(prompt.shown.data, prompt.position)
  return shift ? subjectOf(shift, prompt.answer) : null
}

/** The two tokens of the logit difference: those of the address, else the subjects of the first two prompts. */
export function contrastOf(bench: Workbench): [TokenRef, TokenRef] | null {
  const chosen = bench.search.d
  if (chosen?.[0] && chosen[1]) return [one(chosen[0]), one(chosen[1])]
  const subjects = new Map<number, string>()
  for (const prompt of bench.prompts) {
    const subject = subjectOfPrompt(prompt)
    if (subject) subjects.set(subject.token_id, subject.token)
  }
  const [first, second] = [...subjects].map(([ref, name]): TokenRef => ({ ref, name }))
  return first && second ? [first, second] : null
}

const one = (text: string): TokenRef => ({ ref: text, name: text })

export interface Compared {
  answer: Live<Comparison>
  /** In the order of the answer's prompts. */
  asked: Asked[]
  /** Prompts of the page that are left out because they have no output. */
  missing: number[]
  wanted: boolean
  contrast: [TokenRef, TokenRef] | null
}

/**
 * Requested once every prompt shows its own output and the prefetch for Suppress is done; a prompt without output is left
 * out. Two uses on a page share one request.
 */
export function useComparison(bench: Workbench): Compared {
  const { baskets, prompts } = bench
  const wanted = baskets.a.length + baskets.b.length > 0
  const settled = prompts.every((prompt) => !prompt.shown.pending && !prompt.shown.stale)
  const asked: Asked[] = []
  const missing: number[] = []
  prompts.forEach((prompt, i) => {
    const subject = subjectOfPrompt(prompt)
    if (subject) asked.push({ prompt: i, tokenId: subject.token_id })
    else missing.push(i)
  })
  const contrast = contrastOf(bench)
  const longest = Math.max(0, ...prompts.map((prompt) => prompt.tokens.length))
  const basket = (which: 'a' | 'b') => ({
    components: expandBasket(baskets[which], bench.groupsByName, longest).components,
  })
  const [a, b] = [basket('a'), basket('b')]
  const body: Partial<ComparisonRequest> = {
    prompts: asked.map(({ prompt }) => promptBody(prompts[prompt]?.spec ?? { text: '', bos: false })),
    a,
    b,
    conditions: [
      'none',
      ...(a.components.length > 0 ? (['A'] as const) : []),
      ...(b.components.length > 0 ? (['B'] as const) : []),
      ...(a.components.length > 0 && b.components.length > 0 ? (['A+B'] as const) : []),
    ],
    mode: bench.mode,
    remainder: bench.remainder,
    top_k: bench.search.k ?? TOP_K,
    watch: [
      ...new Set([
        ...asked.map(({ tokenId }) => tokenId),
        ...(contrast?.map(({ ref }) => ref) ?? []),
        ...bench.watch,
      ]),
    ].slice(0, MAX_WATCH),
    at: asked.map(({ prompt }) => prompts[prompt]?.position ?? -1),
  }
  const query = useQuery({
    ...experiments.comparison(bench.id, body),
    enabled: wanted && settled && !bench.ahead && bench.ready && bench.known && asked.length > 0,
  })
  const answer = live<Comparison>(query)
  return { answer: { ...answer, stale: answer.stale || !settled }, asked, missing, wanted, contrast }
}
