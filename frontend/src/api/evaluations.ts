/** Evaluations: every method on the same facts. */
import { queryOptions } from '@tanstack/react-query'
import { client, unwrap } from './client'

/** The newest evaluation of a decomposition; null where there is none yet. */
export const newestEvaluation = (id: string) =>
  queryOptions({
    queryKey: ['evaluation', id],
    queryFn: async ({ signal }) => {
      const { items } = await unwrap(
        client.GET('/api/decompositions/{id}/evaluations', { params: { path: { id } }, signal }),
      )
      if (!items[0]) return null
      const path = { id, evaluation: items[0].id }
      return unwrap(
        client.GET('/api/decompositions/{id}/evaluations/{evaluation}', { params: { path }, signal }),
      )
    },
    staleTime: 60_000,
  })
