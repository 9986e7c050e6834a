import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { queries } from '@/api/queries'
import { plural } from '@/api/words'
import { JobCard } from '@/panels/jobs/JobCard'
import { StartJob } from '@/panels/jobs/StartJob'
import { useTitle } from '@/state/hooks'
import { useJobEvents } from '@/state/jobs'
import { Empty, ErrorNotice, Skeleton } from '@/ui/surfaces'

export function JobsPage() {
  useTitle('Jobs')
  const jobs = useQuery(queries.jobs())
  const live = useJobEvents(jobs.data?.items ?? [])
  const health = useQuery(queries.health())
  const workers = health.data?.workers ?? []
  const alive = workers.filter((worker) => worker.state !== 'lost')
  return (
    <div className="page">
      <div className="page-head">
        <div>
          <h1>Jobs</h1>
          <p className="lead">
            Train a decomposition of your own. Jobs run in the background and survive reloads and crashes.
          </p>
          <Link to="/new" className="btn primary">
            New decomposition
          </Link>
        </div>
        {health.data && (
          <span className={`badge ${alive.length > 0 ? 'good' : 'weak'}`}>
            {alive.length > 0
              ? `${plural(alive.length, 'worker')}, ${alive.map((worker) => worker.state).join(', ')}`
              : 'no worker is running: jobs wait'}
          </span>
        )}
      </div>
      <StartJob />
      <section className="job-list" aria-label="Job list">
        <ErrorNotice error={jobs.error} onRetry={() => jobs.refetch()} />
        {jobs.isPending && <Skeleton height={110} label="Loading the jobs" />}
        {jobs.data?.items.length === 0 && (
          <Empty title="Nothing has run yet">
            <p>Start one above: the small induction model takes some minutes on two CPU cores.</p>
          </Empty>
        )}
        {jobs.data?.items.map((job) => (
          <JobCard
            key={job.id}
            job={job}
            live={live.includes(job.id)}
            resumed={jobs.data.items.some((later) => later.continues === job.id)}
          />
        ))}
      </section>
    </div>
  )
}
