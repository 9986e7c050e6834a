import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { client, unwrap } from '@/api/client'
import { queries } from '@/api/queries'
import type { Job } from '@/api/types'
import { count, duration, figure } from '@/api/words'
import { MiniCurve } from '@/charts/MiniCurve'
import { Button } from '@/ui/controls'
import { ErrorNotice, Progress } from '@/ui/surfaces'

const TONE: Record<Job['state'], string> = {
  queued: '',
  running: 'accent',
  done: 'good',
  failed: 'bad',
  cancelled: 'weak',
}

export function JobCard({ job }: { job: Job }) {
  const active = job.state === 'running' || job.state === 'queued'
  const detail = useQuery(queries.job(job.id, active))
  const queryClient = useQueryClient()
  const cancel = useMutation({
    mutationFn: () => unwrap(client.POST('/api/jobs/{id}/cancel', { params: { path: { id: job.id } } })),
    onSettled: () => queryClient.invalidateQueries({ queryKey: ['jobs'] }),
  })
  const curve = detail.data?.curve ?? []
  const names = Object.keys(curve.at(-1)?.values ?? {})
  const main = names.find((name) => /stochastic|recon/.test(name)) ?? names[0]
  return (
    <article className="panel job" aria-label={`Job ${job.name}`}>
      <div className="job-main">
        <p className="row">
          <b className="mono">{job.name}</b>
          <span className={`badge ${TONE[job.state]}`}>{job.state}</span>
          {job.state === 'running' && <span className="small soft">{job.stage}</span>}
          {job.state === 'queued' && typeof job.place === 'number' && (
            <span className="small soft">
              {job.place === 0 ? 'next in the queue' : `${job.place} ahead of it`}
            </span>
          )}
          {job.resumed > 0 && (
            <span className="badge">
              went on {job.resumed === 1 ? 'once' : `${job.resumed} times`} after a stop
            </span>
          )}
        </p>
        {active && (
          <Progress value={job.state === 'queued' ? 0 : job.progress} label={`Progress of ${job.name}`} />
        )}
        <p className="small soft num">
          step {count(job.step)} of {count(job.steps)}
          {typeof job.rate === 'number' && ` · ${figure(job.rate)} steps/s`}
          {job.remaining_seconds !== null && active && ` · ${duration(job.remaining_seconds)} left`}
          {job.preset && ` · preset ${job.preset}`}
        </p>
        {active && job.message && <p className="small soft">{job.message}</p>}
        {job.error && <p className="job-error">{job.error}</p>}
        <ErrorNotice error={cancel.error} />
      </div>
      {main && curve.length > 1 && (
        <figure className="job-curve">
          <MiniCurve
            points={curve.map((point) => ({ step: point.step, value: point.values[main] ?? null }))}
            label={`${main} of ${job.name}`}
          />
          <figcaption className="small faint">
            {main} <span className="num">{figure(curve.at(-1)?.values[main])}</span>
          </figcaption>
        </figure>
      )}
      <div className="job-actions">
        {active && (
          <Button
            size="small"
            disabled={cancel.isPending}
            onClick={() => cancel.mutate()}
            aria-label={`Cancel ${job.name}`}
          >
            {cancel.isPending ? 'Cancelling…' : 'Cancel'}
          </Button>
        )}
        {job.decomposition && (
          <Link to="/d/$id" params={{ id: job.decomposition }} className="btn primary small">
            Open the result
          </Link>
        )}
      </div>
    </article>
  )
}
