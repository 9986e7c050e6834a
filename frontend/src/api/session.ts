/** Who the server takes the visitor for. */
import { queryOptions } from '@tanstack/react-query'
import { client, unwrap } from './client'

export const sessionQuery = queryOptions({
  queryKey: ['session'],
  queryFn: ({ signal }) => unwrap(client.GET('/api/session', { signal })),
  staleTime: Number.POSITIVE_INFINITY,
})
