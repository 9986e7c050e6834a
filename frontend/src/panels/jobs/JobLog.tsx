import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { jobLog } from '@/api/jobs'
import type { Job } from '@/api/types'
import { isActive } from '@/state/jobs'
import { ErrorNotice } from '@/ui/surfaces'
import './jobs.css'

/** The end of a job's log, asked for once it is opened; that of a failed job stands open. */
export function JobLog({ job }: { job: Job }) {
  const [open, setOpen] = useState(job.state === 'failed')
  const log = useQuery({ ...jobLog(job.id, isActive(job)), enabled: open })
  const lines = log.data?.lines ?? []
  return (
    <details className="job-log" open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary className="small">Log</summary>
      <ErrorNotice error={log.error} onRetry={() => log.refetch()} />
      {open && log.data && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
        <pre className="job-lines" tabIndex={0}>
          {lines.length > 0 ? lines.join('\n') : 'Nothing has been written yet.'}
        </pre>
      )}
    </details>
  )
}
