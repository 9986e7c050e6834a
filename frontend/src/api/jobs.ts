/** What is asked of one job beside its state. */
import { queryOptions } from '@tanstack/react-query'
import { client, unwrap } from './client'

/** The end of a job's log, again and again while it runs. */
export const jobLog = (id: string, active: boolean) =>
  queryOptions({
    queryKey: ['job-log', id],
    queryFn: ({ signal }) => unwrap(client.GET('/api/jobs/{id}/log', { params: { path: { id } }, signal })),
    refetchInterval: active ? 2000 : false,
  })
