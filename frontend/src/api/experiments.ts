/** Conditions side by side and the experiments: their reads of the API, as query options like those of queries.ts. */
import { keepPreviousData, queryOptions } from '@tanstack/react-query'
import { client, unwrap, withDefaults } from './client'
import type { PromptBody } from './queries'
import type {
  AttentionRequest,
  AttributionGraph,
  AttributionRequest,
  ComparisonRequest,
  ContinuationRequest,
  GraphRequest,
  RegimeRequest,
} from './types'

/** A circuit as Neuronpedia's graph JSON. */
export function attributionGraph(id: string, body: Partial<GraphRequest>): Promise<AttributionGraph> {
  return unwrap(
    client.POST('/api/decompositions/{id}/circuits/graph', {
      params: { path: { id } },
      body: withDefaults<GraphRequest>(body),
    }),
  )
}

export const experiments = {
  comparison: (id: string, body: Partial<ComparisonRequest>) =>
    queryOptions({
      queryKey: ['comparison', id, body],
      queryFn: ({ signal }) =>
        unwrap(
          client.POST('/api/decompositions/{id}/comparisons', {
            params: { path: { id } },
            body: withDefaults<ComparisonRequest>(body),
            signal,
          }),
        ),
      staleTime: Number.POSITIVE_INFINITY,
      placeholderData: keepPreviousData,
    }),

  trust: (id: string, prompt: PromptBody) =>
    queryOptions({
      queryKey: ['trust', id, prompt],
      queryFn: ({ signal }) =>
        unwrap(
          client.POST('/api/decompositions/{id}/trust', { params: { path: { id } }, body: prompt, signal }),
        ),
      staleTime: Number.POSITIVE_INFINITY,
    }),

  /** Without `exact`: one pass and its gradient. With it, an ablation for each of the largest effects. */
  attribution: (id: string, body: Partial<AttributionRequest>) =>
    queryOptions({
      queryKey: ['attribution', id, body],
      queryFn: ({ signal }) =>
        unwrap(
          client.POST('/api/decompositions/{id}/attributions', {
            params: { path: { id } },
            body: withDefaults<AttributionRequest>(body),
            signal,
          }),
        ),
      staleTime: Number.POSITIVE_INFINITY,
    }),

  regimes: (id: string, body: Partial<RegimeRequest>) =>
    queryOptions({
      queryKey: ['regimes', id, body],
      queryFn: ({ signal }) =>
        unwrap(
          client.POST('/api/decompositions/{id}/regimes', {
            params: { path: { id } },
            body: withDefaults<RegimeRequest>(body),
            signal,
          }),
        ),
      staleTime: Number.POSITIVE_INFINITY,
      placeholderData: keepPreviousData,
    }),

  attention: (id: string, body: Partial<AttentionRequest>) =>
    queryOptions({
      queryKey: ['attention', id, body],
      queryFn: ({ signal }) =>
        unwrap(
          client.POST('/api/decompositions/{id}/attention', {
            params: { path: { id } },
            body: withDefaults<AttentionRequest>(body),
            signal,
          }),
        ),
      staleTime: Number.POSITIVE_INFINITY,
      placeholderData: keepPreviousData,
    }),

  continuation: (id: string, body: Partial<ContinuationRequest>) =>
    queryOptions({
      queryKey: ['continuation', id, body],
      queryFn: ({ signal }) =>
        unwrap(
          client.POST('/api/decompositions/{id}/continuations', {
            params: { path: { id } },
            body: withDefaults<ContinuationRequest>(body),
            signal,
          }),
        ),
      staleTime: Number.POSITIVE_INFINITY,
      placeholderData: keepPreviousData,
    }),
}
