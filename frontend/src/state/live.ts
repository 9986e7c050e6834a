/** A response with its state: `stale` while a newer one is loading. */
export interface Live<T> {
  data: T | undefined
  stale: boolean
  pending: boolean
  error: Error | null
  retry: () => void
}

export interface QueryLike<T> {
  data: T | undefined
  error: Error | null
  isPlaceholderData: boolean
  isFetching: boolean
  refetch: () => unknown
}

export const live = <T>(query: QueryLike<T>): Live<T> => ({
  data: query.error && !query.isFetching ? undefined : query.data,
  stale: query.isPlaceholderData || (query.isFetching && query.data !== undefined),
  pending: query.isFetching && query.data === undefined,
  error: query.isFetching ? null : query.error,
  retry: () => void query.refetch(),
})
