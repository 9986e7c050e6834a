import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { queries } from '@/api/queries'
import type { Job } from '@/api/types'
import { count, duration, figure } from '@/api/words'
import { MiniCurve } from '@/charts/MiniCurve'
import { isActive } from '@/state/jobs'
import { ExportMenu } from '@/ui/Export'
import { Progress } from '@/ui/surfaces'
import { JobActions } from './JobActions'
import { JobLog } from './JobLog'
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
  const curve = detail.data?.curve ?? []
  // Evidence is measured at some steps only, so no single point has every name.
  const names = [...new Set(curve.flatMap((point) => Object.keys(point.values)))]
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
            {spent(job)}
          </p>
        )}
        {active && job.message && <p className="small soft">{job.message}</p>}
        {job.error && !resumed && <p className="job-error">{job.error}</p>}
        {resumed && <p className="small soft">A later job has resumed it.</p>}
        {active &&
          detail.data?.notes?.map((note) => (
            <p key={note} className="small soft">
              {note}
            </p>
          ))}
      </div>
      {shown && curve.length > 1 && (
        <figure className="job-curve">
          <MiniCurve
            points={curve.flatMap(({ step, values }) =>
              values[shown] === undefined ? [] : [{ step, value: values[shown] }],
            )}
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
            <span className="num">{figure(last(curve, shown))}</span>
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
      <JobActions job={job} />
      <JobLog job={job} />
    </article>
  )
}

/** The corpus of a harvest, its progress, and how long it took: a harvest has tokens, not steps. */
function harvestWords(job: Job): string {
  const corpus = `statistics over ${job.corpus ?? 'a corpus'}`
  if (job.state === 'running') return `${corpus} · ${Math.round(100 * job.progress)} %`
  if (job.state !== 'done') return corpus
  return `${corpus}, on every component’s page${spent(job)}`
}

/** How long a job that has ended took, and what was estimated. */
function spent(job: Job): string {
  const guess = job.estimated_seconds != null ? `, estimated ${duration(job.estimated_seconds)}` : ''
  if (!job.started_at || !job.finished_at) return guess && ` · ${guess.slice(2)}`
  return ` · took ${duration((Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000)}${guess}`
}

/** The last value of a figure: evidence is not measured at every step. */
function last(curve: { values: Record<string, number> }[], name: string): number | undefined {
  return curve.findLast((point) => point.values[name] !== undefined)?.values[name]
}
