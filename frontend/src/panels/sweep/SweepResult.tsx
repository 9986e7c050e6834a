import { useRef } from 'react'
import { duration, nats, plural, probability, visible } from '@/api/words'
import { svgOfElement } from '@/charts/export'
import { LineChart } from '@/charts/LineChart'
import type { Rank } from '@/state/lab'
import { rankRows, type SweepRow, timeLeft } from '@/state/sweep'
import { trustFacts } from '@/state/trust'
import type { SweepRun } from '@/state/useSweep'
import type { Workbench } from '@/state/useWorkbench'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { ErrorNotice, Notice, Progress } from '@/ui/surfaces'
import { SweepTable } from './SweepTable'
import './sweep.css'

const STATES = { running: '', done: 'Done.', cancelled: 'Cancelled.', failed: 'Stopped.' }

export function SweepResult(props: {
  bench: Workbench
  run: SweepRun
  by: Rank
  measures: Record<Rank, string>
  onBy: (by: Rank) => void
  /** Whether the settings have changed since these rows were computed. */
  outdated: boolean
  onRetry: () => void
}) {
  const { bench, run, by } = props
  const line = run.asked.kind === 'strengths'
  const rows = line ? [...run.rows].sort((a, b) => a.strength - b.strength) : rankRows(run.rows, by)
  const left = run.state === 'running' ? timeLeft(run.done, run.total, run.elapsedMs) : null
  return (
    <div className="sweep-result">
      <div className="sweep-progress">
        <Progress value={run.total > 0 ? run.done / run.total : null} label="Progress of the sweep" />
        <span className="small soft num">
          {run.done} of {run.total || '…'}
          {left !== null && `, ${duration(left)} left`}
        </span>
        <span className="small soft" role="status">
          {STATES[run.state]}
          {run.state === 'cancelled' && ' The rows computed so far remain.'}
        </span>
        <span className="grow" />
        {run.rows.length > 0 && (
          <ExportMenu
            of={bench.id}
            name={`sweep-${run.asked.kind}`}
            title={`Sweep, ${run.asked.prompt}`}
            facts={factsOf(bench, run)}
            table={() => sweepTable(run, rows)}
          />
        )}
      </div>
      {props.outdated && run.state !== 'running' && (
        <Notice>
          These rows are about {run.asked.prompt} after{' '}
          <span className="mono">{visible(run.asked.place)}</span>
          {run.asked.token !== null && (
            <>
              {' '}
              and the token <span className="mono">{visible(run.asked.token)}</span>
            </>
          )}
          , from before the settings changed. Run again to update them.
        </Notice>
      )}
      <ErrorNotice error={run.error} onRetry={props.onRetry} />
      {rows.length > 0 && <SweepSentence run={run} rows={rows} by={by} line={line} />}
      {line ? <Curves bench={bench} run={run} rows={rows} /> : <SweepTable {...props} rows={rows} />}
    </div>
  )
}

/** The sentence above the rows. */
function SweepSentence({
  run,
  rows,
  by,
  line,
}: {
  run: SweepRun
  rows: SweepRow[]
  by: Rank
  line: boolean
}) {
  const token = run.asked.token === null ? null : visible(run.asked.token)
  if (line) {
    const end = rows.at(-1)
    if (!end || token === null || end.probability === null || run.before === null) return null
    const half = rows.find((row) => (row.probability ?? 1) <= (run.before ?? 0) / 2)
    return (
      <p className="sentence">
        <b>{token}</b> goes from {probability(run.before)} to <b>{probability(end.probability)}</b> at full
        strength
        {half && <span className="soft">; it is halved at a strength of {half.strength.toFixed(2)}</span>}.
      </p>
    )
  }
  const total = run.rows.reduce((sum, row) => sum + Math.abs(row[by] ?? 0), 0)
  const first = rows.slice(0, 5).reduce((sum, row) => sum + Math.abs(row[by] ?? 0), 0)
  if (total === 0) return <p className="sentence">None of these changes the output alone.</p>
  return (
    <p className="sentence">
      The first {Math.min(5, rows.length)} of {plural(rows.length, 'component')} account for{' '}
      <b>{Math.round((first / total) * 100)} %</b> of the summed effect.
    </p>
  )
}

/** The provenance of the rows, with how far their prompt is described. */
const factsOf = (bench: Workbench, run: SweepRun) =>
  run.provenance
    ? {
        ...provenanceFacts(run.provenance),
        ...trustFacts(bench.prompts.filter((prompt) => prompt.name === run.asked.prompt)),
      }
    : undefined

function Curves({ bench, run, rows }: { bench: Workbench; run: SweepRun; rows: SweepRow[] }) {
  const kl = useRef<SVGSVGElement>(null)
  const chance = useRef<SVGSVGElement>(null)
  const token = run.asked.token
  const facts = factsOf(bench, run)
  const save = (name: string, title: string, ref: typeof kl) => (
    <ExportMenu
      of={bench.id}
      name={name}
      title={title}
      facts={facts}
      figure={() => (ref.current ? svgOfElement(ref.current) : '')}
    />
  )
  return (
    <>
      <div className="sweep-curves">
        {token !== null && (
          <figure>
            <figcaption className="small soft">
              probability of <span className="mono">{visible(token)}</span>
              {save('strength-probability', `Probability of ${visible(token)} by strength`, chance)}
            </figcaption>
            <LineChart
              ref={chance}
              title={`Probability of ${visible(token)} by strength`}
              xLabel="strength"
              yLabel="probability"
              format={probability}
              points={rows.map((row) => ({ x: row.strength, y: row.probability ?? 0 }))}
            />
          </figure>
        )}
        <figure>
          <figcaption className="small soft">
            KL from the original model{save('strength-kl', 'KL by strength', kl)}
          </figcaption>
          <LineChart
            ref={kl}
            title="KL by strength"
            xLabel="strength"
            yLabel="nats"
            least={0.01}
            format={nats}
            points={rows.map((row) => ({ x: row.strength, y: row.kl }))}
          />
        </figure>
      </div>
      <details className="curve-table">
        <summary className="small">Table</summary>
        <table className="numbers sweep-table" aria-label="Sweep by strength">
          <thead>
            <tr>
              <th scope="col">strength</th>
              <th scope="col">probability</th>
              <th scope="col">KL</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.number}>
                <th scope="row">{row.strength.toFixed(2)}</th>
                <td>{row.probability === null ? '–' : probability(row.probability)}</td>
                <td>{nats(row.kl)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </>
  )
}

function sweepTable(run: SweepRun, rows: SweepRow[]) {
  return {
    columns: [
      { key: 'component' },
      { key: 'strength' },
      { key: 'kl', unit: 'nats' },
      { key: 'probability', unit: 'probability' },
      { key: 'probability_change', unit: 'probability' },
      { key: 'logit_difference_change', unit: 'logit' },
      { key: 'cross_entropy_change', unit: 'nats' },
      { key: 'token' },
      { key: 'contrast' },
    ],
    rows: rows.map((row) => ({
      component: row.key ?? 'the whole basket',
      strength: row.strength,
      kl: row.kl,
      probability: row.probability,
      probability_change: row.watched,
      logit_difference_change: row.contrast,
      cross_entropy_change: row.ce,
      token: run.asked.token,
      contrast: run.asked.contrast?.join(' − ') ?? null,
    })),
  }
}
