import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { client, unwrap } from '@/api/client'
import { queries } from '@/api/queries'
import type { Job } from '@/api/types'
import { count, duration, figure } from '@/api/words'
import { MiniCurve } from '@/charts/MiniCurve'
import { isActive } from '@/state/jobs'
import { Button } from '@/ui/controls'
import { ExportMenu } from '@/ui/Export'
import { ErrorNotice, Progress } from '@/ui/surfaces'
import './jobs.css'

const TONE: Record<Job['state'], string> = {
  queued: '',
  running: 'accent',
  done: 'good',
  failed: 'bad',
  cancelled: 'weak',
}

/** A job. `live`: events keep it up to date, so it does not poll. `resumed`: a later job continues it. */
export function JobCard({ job, live, resumed }: { job: Job; live: boolean; resumed: boolean }) {
  const active = isActive(job)
  const detail = useQuery(queries.job(job.id, active && !live))
  const queryClient = useQueryClient()
  const cancel = useMutation({
    mutationFn: () => unwrap(client.POST('/api/jobs/{id}/cancel', { params: { path: { id: job.id } } })),
    onSettled: () => queryClient.invalidateQueries({ queryKey: ['jobs'] }),
  })
  const resume = useMutation({
    mutationFn: () => unwrap(client.POST('/api/jobs/{id}/resume', { params: { path: { id: job.id } } })),
    onSettled: () => queryClient.invalidateQueries({ queryKey: ['jobs'] }),
  })
  const discard = useMutation({
    mutationFn: () => unwrap(client.POST('/api/jobs/{id}/discard', { params: { path: { id: job.id } } })),
    onSettled: () => queryClient.invalidateQueries({ queryKey: ['jobs'] }),
  })
  const curve = detail.data?.curve ?? []
  const names = Object.keys(curve.at(-1)?.values ?? {})
  const main = names.find((name) => /stochastic|recon/.test(name)) ?? names[0]
  const [chosen, setChosen] = useState<string | null>(null)
  const shown = chosen !== null && names.includes(chosen) ? chosen : main
  return (
    <article className="panel job" aria-label={`Job ${job.name}`}>
      <div className="job-main">
        <p className="row">
          {job.kind === 'harvest' && <span className="soft">Harvest of</span>}
          <b className="mono">{job.name}</b>
          <span className={`badge ${TONE[job.state]}`}>{job.state}</span>
          {job.state === 'running' && job.kind === 'decompose' && (
            <span className="small soft">{job.stage}</span>
          )}
          {job.state === 'queued' && typeof job.place === 'number' && (
            <span className="small soft">
              {job.place === 0 ? 'next in the queue' : `${job.place} ahead of it`}
            </span>
          )}
          {job.resumed > 0 && (
            <span className="badge">resumed {job.resumed === 1 ? 'once' : `${job.resumed} times`}</span>
          )}
        </p>
        {active && (
          <Progress value={job.state === 'queued' ? 0 : job.progress} label={`Progress of ${job.name}`} />
        )}
        {job.kind === 'harvest' ? (
          <p className="small soft">{harvestWords(job)}</p>
        ) : (
          <p className="small soft num">
            step {count(job.step)} of {count(job.steps)}
            {typeof job.rate === 'number' && ` · ${figure(job.rate)} steps/s`}
            {job.remaining_seconds !== null && active && ` · ${duration(job.remaining_seconds)} left`}
            {job.preset && ` · preset ${job.preset}`}
          </p>
        )}
        {active && job.message && <p className="small soft">{job.message}</p>}
        {job.error && !resumed && <p className="job-error">{job.error}</p>}
        {resumed && <p className="small soft">A later job has resumed it.</p>}
        <ErrorNotice error={cancel.error ?? resume.error ?? discard.error} />
      </div>
      {shown && curve.length > 1 && (
        <figure className="job-curve">
          <MiniCurve
            points={curve.map((point) => ({ step: point.step, value: point.values[shown] ?? null }))}
            label={`${shown} of ${job.name}`}
          />
          <figcaption className="small soft">
            <select
              className="curve-choice"
              aria-label={`Curve of ${job.name}`}
              value={shown}
              onChange={(event) => setChosen(event.target.value)}
            >
              {names.map((name) => (
                <option key={name} value={name}>
                  {name.replaceAll('_', ' ')}
                </option>
              ))}
            </select>
            <span className="num">{figure(curve.at(-1)?.values[shown])}</span>
            <ExportMenu
              of={job.name}
              name="curves"
              title={`Curves of ${job.name}`}
              facts={{ job: job.id, preset: job.preset }}
              table={() => ({
                columns: [{ key: 'step' }, ...names.map((key) => ({ key }))],
                rows: curve.map((point) => ({ step: point.step, ...point.values })),
              })}
            />
          </figcaption>
        </figure>
      )}
      <div>
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
        {job.resumable && (
          <>
            <Button
              kind="primary"
              size="small"
              disabled={resume.isPending}
              onClick={() => resume.mutate()}
              aria-label={`Resume ${job.name}`}
            >
              {resume.isPending ? 'Resuming…' : 'Resume'}
            </Button>
            <Button
              size="small"
              disabled={discard.isPending}
              onClick={() => discard.mutate()}
              aria-label={`Discard the checkpoint of ${job.name}`}
            >
              Discard
            </Button>
          </>
        )}
        {job.decomposition && job.kind === 'decompose' && (
          <Link to="/d/$id" params={{ id: job.decomposition }} className="btn primary small">
            Open the result
          </Link>
        )}
        {job.decomposition && job.kind === 'harvest' && (
          <Link to="/d/$id/components" params={{ id: job.decomposition }} className="btn primary small">
            Open its components
          </Link>
        )}
      </div>
    </article>
  )
}

/** The corpus of a harvest, its progress, and how long it took: a harvest has tokens, not steps. */
function harvestWords(job: Job): string {
  const corpus = `statistics over ${job.corpus ?? 'a corpus'}`
  if (job.state === 'running') return `${corpus} · ${Math.round(100 * job.progress)} %`
  if (job.state !== 'done') return corpus
  const spent =
    job.started_at && job.finished_at
      ? ` · took ${duration((Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000)}`
      : ''
  return `${corpus}, on every component’s page${spent}`
}
