/** What depends on a decomposition. */
import { queryOptions } from '@tanstack/react-query'
import { client, unwrap } from './client'

export const dependents = (id: string) =>
  queryOptions({
    queryKey: ['dependents', id],
    queryFn: ({ signal }) =>
      unwrap(client.GET('/api/decompositions/{id}/dependents', { params: { path: { id } }, signal })),
    staleTime: 0,
  })
