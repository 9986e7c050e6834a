/** Access tokens, and the record of changes; for administrators. */
import { queryOptions } from '@tanstack/react-query'
import { client, unwrap } from './client'

export const accessTokens = queryOptions({
  queryKey: ['tokens'],
  queryFn: ({ signal }) => unwrap(client.GET('/api/tokens', { signal })),
})

export const audit = queryOptions({
  queryKey: ['audit'],
  queryFn: ({ signal }) => unwrap(client.GET('/api/audit', { signal })),
  staleTime: 0,
})
