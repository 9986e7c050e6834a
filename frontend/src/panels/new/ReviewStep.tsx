import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { ApiError, client, unwrap } from '@/api/client'
import { estimateOf, newRun, wire } from '@/api/newRun'
import type { Estimate, Review } from '@/api/types'
import { count, duration, plural } from '@/api/words'
import { useDebounced } from '@/state/hooks'
import { type Config, withValue } from '@/state/newRun'
import { Button, CopyButton, Field } from '@/ui/controls'
import { ErrorNotice, Notice, Panel, Recomputing } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'
import './new.css'

const PARTS: Record<string, string> = {
  target: 'getting the model',
  start: 'start values',
  train: 'training',
  harvest: 'statistics',
  evidence: 'evidence',
}

/** What will be run, what to think of first, how long it takes; and the start. */
export function ReviewStep({
  config,
  ready,
  onConfig,
}: {
  config: Config
  /** What is still missing, in words; null when it can be started. */
  ready: string | null
  onConfig: (config: Config) => void
}) {
  const settled = useDebounced(config, 400)
  const review = useQuery(newRun.review(settled, ready === null))
  const queryClient = useQueryClient()
  const estimate = useMutation({ mutationFn: () => estimateOf(config) })
  const [estimated, setEstimated] = useState<Config | null>(null)
  const known = estimated === config ? estimate.data : undefined
  const start = useMutation({
    mutationFn: () =>
      unwrap(
        client.POST('/api/jobs', {
          body: {
            config: wire(config),
            name: String(config.name),
            overrides: {},
            estimated_seconds: known?.total_seconds ?? null,
            memory_bytes: known?.memory_bytes ?? null,
          },
        }),
      ),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: ['jobs'] }),
  })
  const refused = start.error instanceof ApiError ? start.error : null
  const suggestion = refused?.details?.suggestion
  const current = settled === config && !review.isPlaceholderData
  return (
    <Panel title="5 · Review and start" tools={<Recomputing on={review.isFetching} what="Checking" />}>
      <div className="pad new-step">
        <div className="review-names">
          <Field label="Name" hint="lower-case letters, digits, hyphens">
            {(id) => (
              <input
                id={id}
                className="input mono"
                value={String(config.name ?? '')}
                maxLength={100}
                onChange={(event) => onConfig({ ...config, name: event.target.value })}
              />
            )}
          </Field>
          <Field label="Title" hint="what the gallery calls it">
            {(id) => (
              <input
                id={id}
                className="input"
                value={String(config.title ?? '')}
                maxLength={200}
                onChange={(event) =>
                  onConfig(withValue(config, ['title'], event.target.value || undefined) as Config)
                }
              />
            )}
          </Field>
        </div>
        {ready !== null && <p className="soft">{ready}</p>}
        {ready === null && <ErrorNotice error={review.error} />}
        {ready === null && review.data && !review.error && <Reviewed review={review.data} />}
        {known && <Estimated estimate={known} />}
        <ErrorNotice
          error={estimate.error ?? start.error}
          actions={
            typeof suggestion === 'string' && (
              <Button size="small" onClick={() => onConfig({ ...config, name: suggestion })}>
                Use {suggestion}
              </Button>
            )
          }
        />
        <div className="row">
          <Button
            disabled={ready !== null || estimate.isPending || review.isError}
            onClick={() => {
              setEstimated(config)
              estimate.mutate()
            }}
          >
            {estimate.isPending ? 'Timing a few steps…' : 'Estimate time and memory'}
          </Button>
          <Button
            kind="primary"
            needs="write"
            disabled={ready !== null || start.isPending || !current || review.isError}
            onClick={() => start.mutate()}
          >
            {start.isPending ? 'Starting…' : 'Start'}
          </Button>
          {review.data && ready === null && (
            <CopyButton text={shell(String(config.name), review.data)}>Copy as command line</CopyButton>
          )}
        </div>
        {start.data && (
          <Notice
            tone="good"
            actions={
              <Link to="/jobs" className="btn small">
                Watch it
              </Link>
            }
          >
            “{start.data.name}” is in the queue.
          </Notice>
        )}
      </div>
    </Panel>
  )
}

function Reviewed({ review }: { review: Review }) {
  const total = review.components
  return (
    <>
      {review.notes.length > 0 && (
        <ul className="review-notes" aria-label="Before you start">
          {review.notes.map((note) => (
            <li key={note}>
              <Notice tone="warn">{note}</Notice>
            </li>
          ))}
        </ul>
      )}
      <p className="small soft">
        {plural(review.sites.length, 'matrix', 'matrices')} of {count(review.parameters)} parameters;{' '}
        {total == null ? 'as many components as the data ask for' : plural(total, 'component')}.
      </p>
      <TableScroll label="Sites" tall>
        <table className="data review-sites">
          <thead>
            <tr>
              <th>Site</th>
              <th className="right">Shape</th>
              <th className="right">Parameters</th>
              <th className="right">C</th>
            </tr>
          </thead>
          <tbody>
            {review.sites.map((site) => (
              <tr key={site.path}>
                <th scope="row" className="mono">
                  {site.path}
                </th>
                <td className="right num nowrap">
                  {count(site.d_out)} × {count(site.d_in)}
                </td>
                <td className="right num">{count(site.parameters)}</td>
                <td className="right num">{site.components ?? 'by data'}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
    </>
  )
}

function Estimated({ estimate }: { estimate: Estimate }) {
  const memory = estimate.memory_bytes / 2 ** 30
  const parts = Object.entries(estimate.seconds).filter(([, seconds]) => seconds >= 1)
  const components = Object.values(estimate.components).reduce((sum, one) => sum + one, 0)
  return (
    <Notice tone={estimate.memory_bytes > estimate.available_bytes ? 'warn' : 'info'}>
      <b>About {duration(estimate.total_seconds)}</b> on {estimate.device}
      {parts.length > 0 &&
        ` (${parts.map(([part, seconds]) => `${PARTS[part] ?? part} ${duration(seconds)}`).join(', ')})`}
      , {memory.toFixed(1)} GiB of memory, {plural(components, 'component')} at the start. From{' '}
      {plural(estimate.steps, 'timed step')}, with whatever else this machine is doing now.
    </Notice>
  )
}

/** The same run from a shell: the config written to a file, and the command that reads it. */
function shell(name: string, review: Review): string {
  return `cat > ${name}.yaml <<'END'\n${review.yaml}END\n${review.command}\n`
}
