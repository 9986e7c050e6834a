/** Running jobs, followed by server-sent events instead of polling. */

import { useQueryClient } from '@tanstack/react-query'
import { useEffect } from 'react'
import { queries } from '@/api/queries'
import { at } from '@/api/root'
import type { Job } from '@/api/types'

/** A browser allows few connections to one server, so only the first running jobs are followed live. */
const FOLLOWED = 3

export const isActive = (job: Job) => job.state === 'running' || job.state === 'queued'

/**
 * Follow the running jobs of a list. Each event holds the whole job and replaces the cached one; the browser
 * reconnects by itself, and the other jobs are polled with the list.
 */
export function useJobEvents(jobs: Job[]): string[] {
  const queryClient = useQueryClient()
  const followed = jobs
    .filter((job) => job.state === 'running')
    .slice(0, FOLLOWED)
    .map((job) => job.id)
  const ids = followed.join(' ')
  useEffect(() => {
    const sources = ids
      .split(' ')
      .filter(Boolean)
      .map((id) => {
        const source = new EventSource(at(`/api/jobs/${encodeURIComponent(id)}/events`))
        source.addEventListener('job', (event) => {
          const job: Job = JSON.parse(event.data)
          // Events leave the config out; what was read with the job stays.
          queryClient.setQueryData(queries.job(id, false).queryKey, (old) => ({
            ...job,
            config: old?.config ?? null,
          }))
          queryClient.setQueryData(
            queries.jobs().queryKey,
            (old) =>
              old && { ...old, items: old.items.map((one) => (one.id === id ? { ...job, curve: [] } : one)) },
          )
        })
        source.addEventListener('end', () => {
          source.close()
          void queryClient.invalidateQueries({ queryKey: ['jobs'] })
          void queryClient.invalidateQueries({ queryKey: ['decompositions'] })
        })
        return source
      })
    return () => {
      for (const source of sources) source.close()
    }
  }, [ids, queryClient])
  return followed
}
