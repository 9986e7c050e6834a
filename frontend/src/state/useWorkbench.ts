/** The workbench: its address, and every response the address needs. */
import { useQueries, useQuery } from '@tanstack/react-query'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { useCallback, useMemo } from 'react'
import { experiments } from '@/api/experiments'
import { queries } from '@/api/queries'
import type {
  Ablation,
  Attribution,
  AttributionRequest,
  Decomposition,
  Group,
  Importances,
  Suppression,
  Token,
  TokenizeAnswer,
  Trust,
} from '@/api/types'
import { probability } from '@/api/words'
import { type BasketEntry, encodeEntry, expandBasket, joinSuppressions } from './basket'
import { type EffectIndex, indexEffects } from './effects'
import { type CIIndex, indexImportances } from './importances'
import { type Live, live, type QueryLike } from './live'
import { encodePrompt, type PromptSpec, promptBody, promptText, resolvePosition } from './prompts'
import { shiftAt } from './shift'
import type { TokenOffer } from './useTokenInput'
import {
  type Condition,
  readEntries,
  readPrompts,
  TOP_K,
  type WorkbenchSearch,
  withoutDefaults,
} from './workbench'

export interface PromptView {
  spec: PromptSpec
  name: string
  text: string
  tokens: Token[]
  tokenized: Live<TokenizeAnswer>
  importances: Live<Importances>
  /** How far the decomposition describes it. */
  trust: Live<Trust>
  index: CIIndex | null
  /** What suppressing each component would add to log p of its token, and the request behind it. */
  effects: Live<Attribution>
  effectBody: Partial<AttributionRequest>
  effectIndex: EffectIndex | null
  /** The answer of this prompt, where the run has one. */
  answer: string | null
  /** Whether it is one of the run's own prompts. */
  own: boolean
  position: number
  shown: Live<Ablation>
  suppressed: Suppression[]
}

/** The two prompts of the story: the first of the run's own, one per fact. */
export function storyPrompts(decomposition: Decomposition): PromptSpec[] {
  const seen = new Set<string>()
  const first = decomposition.prompts.filter((prompt) => {
    const fact = prompt.fact ?? prompt.text
    if (prompt.split !== 'train' || seen.has(fact)) return false
    seen.add(fact)
    return true
  })
  const chosen = (first.length > 0 ? first : decomposition.prompts).slice(0, 2)
  return chosen.map((prompt) => ({ text: prompt.text, bos: prompt.bos }))
}

/** The prompt of the run that this is, if it is one. */
function runPrompt(decomposition: Decomposition, spec: PromptSpec, text = spec.text) {
  return decomposition.prompts.find((prompt) => prompt.text === text && prompt.bos === spec.bos)
}

/** For longer prompts only the selected position is requested: all of them would be megabytes. */
const LONG = 96

export type Patch = Partial<WorkbenchSearch>
export type SetSearch = (patch: Patch, options?: { replace?: boolean }) => void

export function useWorkbench(decomposition: Decomposition) {
  const id = decomposition.id
  const search = useSearch({ from: '/d/$id/workbench' })
  const navigate = useNavigate({ from: '/d/$id/workbench' })
  const set = useCallback<SetSearch>(
    (patch, options) =>
      void navigate({
        search: (old) => withoutDefaults({ ...old, ...patch }),
        replace: options?.replace,
        resetScroll: false,
      }),
    [navigate],
  )

  const ready = decomposition.target.state === 'ready'
  const specs = useMemo(() => readPrompts(search) ?? storyPrompts(decomposition), [search, decomposition])
  const active = Math.min((search.n ?? 1) - 1, specs.length - 1)
  const basketA = useMemo(() => readEntries(search.a), [search.a])
  const basketB = useMemo(() => readEntries(search.b), [search.b])
  const condition: Condition = search.cond ?? 'none'
  const mode = search.mode ?? 'suppress'
  const remainder = search.rem ?? (mode === 'suppress' ? 'on' : 'off')
  const watch = useMemo(
    () => search.w?.filter((token) => token !== '') ?? decomposition.default_watch,
    [search.w, decomposition],
  )

  const groupsQuery = useQuery(queries.groups(id))
  const groups = useMemo(() => groupsQuery.data?.items ?? [], [groupsQuery.data])
  const groupsByName = useMemo(
    () => new Map(groups.map((group): [string, Group] => [group.name, group])),
    [groups],
  )
  const labels = useQuery(queries.labels(id))

  const tokenized = useQueries({
    queries: specs.map((spec) => ({
      ...queries.tokens(id, spec.text ?? '', spec.bos, spec.plain),
      enabled: !spec.ids,
    })),
  })
  const askable = specs.map((spec, i) =>
    spec.ids ? spec.ids.length > 0 : (tokenized[i]?.data?.tokens.length ?? 0) > 0,
  )
  const importances = useQueries({
    queries: specs.map((spec, i) => ({
      ...queries.importances(id, promptBody(spec), ready),
      enabled: askable[i],
    })),
  })

  const lengths = specs.map((spec, i) => spec.ids?.length ?? tokenized[i]?.data?.tokens.length ?? 0)
  const expand = (entries: BasketEntry[], i: number) =>
    expandBasket(entries, groupsByName, lengths[i] ?? 0).components
  const suppressions = specs.map((_, i) => {
    const [a, b] = [expand(basketA, i), expand(basketB, i)]
    return { none: [], a, b, ab: joinSuppressions(a, b, lengths[i] ?? 0) } satisfies Record<
      Condition,
      Suppression[]
    >
  })
  // Groups must have loaded before a basket of groups can be applied: half a basket would be a different request.
  const waiting = !groupsQuery.isSuccess && [...basketA, ...basketB].some((entry) => entry.kind === 'group')
  const ask = (i: number, which: Condition) => {
    const components = suppressions[i]?.[which] ?? []
    const plain = components.length === 0
    const body = {
      ...promptBody(specs[i] as PromptSpec),
      components,
      mode: plain ? ('suppress' as const) : mode,
      remainder: plain ? ('on' as const) : remainder,
      top_k: search.k ?? TOP_K,
      watch,
      positions: lengths[i] && lengths[i] > LONG ? [resolvePosition(search.at?.[i] ?? -1, lengths[i])] : null,
    }
    return { ...queries.ablation(id, body), enabled: ready && !waiting && !!askable[i] }
  }
  const shown = useQueries({ queries: specs.map((_, i) => ask(i, condition)) })
  // Asked once importances and outputs are on screen, so that neither waits for them.
  const shownFirst = (i: number) =>
    ready && !!importances[i]?.data && !importances[i].isFetching && !shown[i]?.isFetching
  const effectBodies = specs.map((spec, i) => {
    const own = runPrompt(decomposition, spec)
    return {
      ...promptBody(spec),
      token: search.et ?? own?.answer ?? null,
      position: lengths[i] ? resolvePosition(search.at?.[i] ?? -1, lengths[i]) : null,
    }
  })
  const effects = useQueries({
    queries: effectBodies.map((body, i) => ({
      ...experiments.attribution(id, body),
      enabled: shownFirst(i) && !!lengths[i],
    })),
  })
  const trusts = useQueries({
    queries: specs.map((spec, i) => ({
      ...experiments.trust(id, promptBody(spec)),
      enabled: shownFirst(i),
    })),
  })
  // Prefetches the result of Suppress while the basket is being edited. The comparison of conditions needs the same passes
  // and waits for these, so this costs no extra pass; another basket cancels it.
  const next = condition !== 'none' ? null : basketA.length > 0 ? 'a' : basketB.length > 0 ? 'b' : null
  const answered = shown.every((query) => !query.isFetching)
  const ahead = useQueries({
    queries: next && answered ? specs.map((_, i) => ask(i, next)) : [],
    combine: fetchingAny,
  })

  const indices = importances.map(({ data }) => indexed(data, INDICES, indexImportances))
  const effectIndices = effects.map(({ data }) => indexed(data, EFFECT_INDICES, indexEffects))
  const prompts = specs.map((spec, i): PromptView => {
    const tokens =
      (spec.ids ? (importances[i]?.data ?? shown[i]?.data)?.tokens : tokenized[i]?.data?.tokens) ?? []
    const text = promptText(spec, tokens)
    const own = runPrompt(decomposition, spec, text)
    const result = live(shown[i] as QueryLike<Ablation>)
    return {
      spec,
      name: `Prompt ${i + 1}`,
      text,
      tokens,
      tokenized: live(tokenized[i] as QueryLike<TokenizeAnswer>),
      importances: live(importances[i] as QueryLike<Importances>),
      trust: live(trusts[i] as QueryLike<Trust>),
      index: indices[i] ?? null,
      effects: live(effects[i] as QueryLike<Attribution>),
      effectBody: effectBodies[i] ?? {},
      effectIndex: effectIndices[i] ?? null,
      answer: own?.answer ?? null,
      own: own !== undefined,
      position: resolvePosition(search.at?.[i] ?? -1, result.data?.tokens.length ?? tokens.length),
      shown: result,
      suppressed: suppressions[i]?.[condition] ?? [],
    }
  })

  const offers = offersOf(prompts)
  const setPrompts = (next: PromptSpec[], options?: { replace?: boolean; patch?: Patch }) =>
    set({ p: next.map(encodePrompt), ...options?.patch }, options)
  const setBasket = (which: 'a' | 'b', entries: BasketEntry[], options?: { replace?: boolean }) =>
    set({ [which]: entries.map(encodeEntry) }, options)
  const setPosition = (i: number, position: number) => {
    const last = (prompts[i]?.shown.data?.tokens.length ?? 0) - 1
    set({
      at: specs.map((_, other) =>
        other === i ? (position === last ? -1 : position) : (search.at?.[other] ?? -1),
      ),
    })
  }

  return {
    id,
    decomposition,
    search,
    set,
    ready,
    prompts,
    active,
    groups,
    groupsByName,
    groupsError: groupsQuery.error,
    labels: labels.data ?? null,
    baskets: { a: basketA, b: basketB },
    unknownGroups: groupsQuery.isSuccess
      ? expandBasket([...basketA, ...basketB], groupsByName, 1).unknown
      : [],
    condition,
    mode,
    remainder,
    /** Whether the baskets' groups are known, so that a basket can be applied. */
    known: !waiting,
    /** Whether the result of Suppress is being prefetched. */
    ahead,
    watch,
    /** Tokens in the tables: the first suggestions of a token input. */
    offers,
    threshold: search.t ?? decomposition.provenance.threshold,
    setPrompts,
    setBasket,
    setPosition,
  }
}

export type Workbench = ReturnType<typeof useWorkbench>

const fetchingAny = (queries: { isFetching: boolean }[]) => queries.some((query) => query.isFetching)

function offersOf(prompts: PromptView[]): TokenOffer[] {
  const probabilities = new Map<string, number>()
  for (const { shown, position } of prompts)
    for (const row of (shown.data && shiftAt(shown.data, position)?.top) ?? [])
      probabilities.set(row.token, Math.max(probabilities.get(row.token) ?? 0, row.baseline.probability))
  return [...probabilities].map(([token, p]) => ({ token, note: probability(p) }))
}

/** One index per response, built once and cached with it. */
const INDICES = new WeakMap<Importances, CIIndex>()
const EFFECT_INDICES = new WeakMap<Attribution, EffectIndex>()
function indexed<A extends object, I>(
  answer: A | undefined,
  cache: WeakMap<A, I>,
  build: (answer: A) => I,
): I | null {
  if (!answer) return null
  let index = cache.get(answer)
  if (index === undefined) {
    index = build(answer)
    cache.set(answer, index)
  }
  return index
}
