import { useMutation, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useState } from 'react'
import { client, unwrap } from '@/api/client'
import type { Job } from '@/api/types'
import { isActive } from '@/state/jobs'
import { Button } from '@/ui/controls'
import { Dialog, ErrorNotice } from '@/ui/surfaces'
import './jobs.css'

type Asked = 'cancel' | 'delete'

const QUESTIONS: Record<Asked, { title: string; words: string; yes: string; no: string }> = {
  cancel: {
    title: 'Cancel this job?',
    words: 'It stops at its next step, and what it has trained so far is removed.',
    yes: 'Cancel the job',
    no: 'Let it go on',
  },
  delete: {
    title: 'Delete this job?',
    words: 'Its log, its config and its checkpoint are removed. A decomposition that it made stays.',
    yes: 'Delete the job',
    no: 'Keep it',
  },
}

/** What can be done with a job in its state; what cannot be taken back is asked about. */
export function JobActions({ job }: { job: Job }) {
  const queryClient = useQueryClient()
  const [asked, setAsked] = useState<Asked | null>(null)
  const path = { params: { path: { id: job.id } } }
  const does = useMutation({
    mutationFn: async (what: Asked | 'resume' | 'discard' | 'retry') => {
      if (what === 'cancel') await unwrap(client.POST('/api/jobs/{id}/cancel', path))
      if (what === 'resume') await unwrap(client.POST('/api/jobs/{id}/resume', path))
      if (what === 'discard') await unwrap(client.POST('/api/jobs/{id}/discard', path))
      if (what === 'retry') await unwrap(client.POST('/api/jobs/{id}/retry', path))
      if (what === 'delete') await unwrap(client.DELETE('/api/jobs/{id}', { ...path, parseAs: 'text' }))
    },
    onSettled: () => {
      setAsked(null)
      return queryClient.invalidateQueries({ queryKey: ['jobs'] })
    },
  })
  const navigate = useNavigate()
  const opens = useMutation({
    mutationFn: () => unwrap(client.POST('/api/jobs/{id}/checkpoint', path)),
    onSuccess: async ({ decomposition }) => {
      await queryClient.invalidateQueries({ queryKey: ['decompositions'] })
      await navigate({ to: '/d/$id/workbench', params: { id: decomposition } })
    },
  })
  const active = isActive(job)
  const trained = job.kind === 'decompose'
  const button = (
    what: Asked | 'resume' | 'discard' | 'retry',
    words: string,
    label: string,
    main = false,
  ) => (
    <Button
      kind={main ? 'primary' : 'plain'}
      size="small"
      needs={what === 'delete' ? 'admin' : 'write'}
      disabled={does.isPending}
      aria-label={label}
      onClick={() => (what === 'cancel' || what === 'delete' ? setAsked(what) : does.mutate(what))}
    >
      {words}
    </Button>
  )
  const question = asked && QUESTIONS[asked]
  return (
    <div className="job-actions">
      {job.decomposition && trained && (
        <Link to="/d/$id" params={{ id: job.decomposition }} className="btn primary small">
          Open the result
        </Link>
      )}
      {job.decomposition && !trained && (
        <Link to="/d/$id/components" params={{ id: job.decomposition }} className="btn primary small">
          Open its components
        </Link>
      )}
      {trained && (job.state === 'running' || job.resumable) && job.step > 0 && (
        <Button
          size="small"
          needs="write"
          disabled={opens.isPending}
          aria-label={`Open the last checkpoint of ${job.name}`}
          title="What it has trained so far, on the workbench; marked as still training"
          onClick={() => opens.mutate()}
        >
          {opens.isPending ? 'Opening the checkpoint…' : 'Open the last checkpoint'}
        </Button>
      )}
      {active && button('cancel', 'Cancel', `Cancel ${job.name}`)}
      {job.resumable && button('resume', 'Resume', `Resume ${job.name}`, true)}
      {job.resumable && button('discard', 'Discard', `Discard the checkpoint of ${job.name}`)}
      {!active && button('retry', 'Run again', `Run again: ${job.name}`)}
      {trained && (
        <Link
          to="/new"
          search={{ job: job.id }}
          className="btn small"
          aria-label={`Duplicate and edit ${job.name}`}
        >
          Duplicate and edit
        </Link>
      )}
      {!active && button('delete', 'Delete', `Delete job ${job.name}`)}
      <ErrorNotice error={does.error ?? opens.error} />
      {question && (
        <Dialog open onOpenChange={(open) => !open && setAsked(null)} title={question.title}>
          <p>{question.words}</p>
          <div className="row">
            <Button kind="primary" disabled={does.isPending} onClick={() => asked && does.mutate(asked)}>
              {question.yes}
            </Button>
            <Button onClick={() => setAsked(null)}>{question.no}</Button>
          </div>
        </Dialog>
      )}
    </div>
  )
}
