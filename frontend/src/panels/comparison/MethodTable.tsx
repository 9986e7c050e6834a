import type { Evaluation, MethodSummary, Provenance } from '@/api/types'
import { figure, nats, plural } from '@/api/words'
import { Seg } from '@/ui/controls'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'
import { between, isGated, ranking, score, share, titleOf } from './words'
import './comparison.css'

const KINDS = [
  ['others', 'Other facts'],
  ['reverse', 'Reverse'],
  ['elsewhere', 'Same words elsewhere'],
  ['text', 'Text'],
] as const

const VERDICTS = {
  wins: ['good', 'SPD ahead'],
  loses: ['bad', 'SPD behind'],
  level: ['', 'level'],
} as const

function Against(props: { verdict: keyof typeof VERDICTS }) {
  const [tone, words] = VERDICTS[props.verdict]
  return <span className={`badge ${tone}`}>{words}</span>
}

/** Every method at one budget with its interval, best first. */
export function MethodTable(props: {
  evaluation: Evaluation
  from: Provenance
  budget: number
  onBudget: (budget: number) => void
}) {
  const { evaluation, from, budget } = props
  const rows = ranking(evaluation, budget)
  const kinds = KINDS.filter(([kind]) => evaluation.kinds.includes(kind))
  return (
    <Panel
      title="Selectivity"
      aside={`means over ${plural(evaluation.facts.length, 'fact')}`}
      tools={
        <>
          <Seg
            label="Budget"
            value={String(budget)}
            options={evaluation.config.budgets.map((one) => ({
              value: String(one),
              label: plural(one, 'term'),
            }))}
            onChange={(value) => props.onBudget(Number(value))}
          />
          <ExportMenu
            of={from.decomposition}
            name="methods"
            title="Selectivity"
            facts={{ ...provenanceFacts(from), seed: evaluation.config.seed }}
            table={() => ({ columns: COLUMNS, rows: evaluation.summary.map(flat) })}
          />
        </>
      }
    >
      <TableScroll label="Selectivity">
        <table className="data method-table">
          <thead>
            <tr>
              <th scope="col">Method</th>
              <th scope="col" className="right" title="Forgetting less damage: 1 is perfect, 0 is chance">
                Score
              </th>
              <th scope="col" className="interval-head">
                <span className="hidden-visually">Score with its interval</span>
                <Scale />
              </th>
              <th scope="col" className="right" title="How far the answer falls on held-out templates">
                Forgets
              </th>
              {kinds.map(([kind, label]) => (
                <th scope="col" className="right" key={kind} title={`Damage: mean relative change, ${label}`}>
                  {label}
                </th>
              ))}
              <th scope="col" className="right" title="KL on held-out text, nats a position">
                KL
              </th>
              <th scope="col">Against SPD</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.method} className={row.method === evaluation.first ? 'method-own' : undefined}>
                <th scope="row" title={evaluation.methods.find((one) => one.name === row.method)?.about}>
                  {titleOf(evaluation, row.method)}
                  {isGated(evaluation, row.method) && (
                    <small>acts only where the subject stands: a bound, not a rival</small>
                  )}
                </th>
                <td className="right num">
                  <b>{score(row.score.mean)}</b>
                  <small className="soft interval-text">{between(row.score)}</small>
                </td>
                <td>
                  <IntervalBar row={row} />
                </td>
                <td className="right num">{share(row.forgets.mean)}</td>
                {kinds.map(([kind]) => (
                  <td className="right num" key={kind}>
                    {share(row[kind])}
                  </td>
                ))}
                <td className="right num">{row.kl === null || row.kl === undefined ? '–' : nats(row.kl)}</td>
                <td className="nowrap">{row.verdict && <Against verdict={row.verdict} />}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
      <p className="pad small soft">
        Score: how far the answer falls on templates the edit was not chosen on, less the mean damage to what
        should stay. 1 is perfect; 0 is chance, and also what taking everything away gets. Lines are bootstrap
        intervals of 95 % over facts.
        {evaluation.kinds.includes('text') && budget !== evaluation.config.main && (
          <> Text was measured only with {plural(evaluation.config.main, 'term')}.</>
        )}
      </p>
    </Panel>
  )
}

const [LOW, HIGH] = [-0.5, 1]
const at = (value: number) => ((Math.max(LOW, Math.min(HIGH, value)) - LOW) / (HIGH - LOW)) * 200

function Scale() {
  return (
    <svg viewBox="-12 0 224 12" className="interval-scale" aria-hidden="true">
      {[-0.5, 0, 0.5, 1].map((value) => (
        <text key={value} x={at(value)} y="10" textAnchor="middle">
          {figure(value)}
        </text>
      ))}
    </svg>
  )
}

function IntervalBar({ row }: { row: MethodSummary }) {
  const { mean, low, high } = row.score
  return (
    <svg viewBox="-12 0 224 18" className="interval-bar" aria-hidden="true">
      {[0, 0.5].map((value) => (
        <line
          key={value}
          className={value === 0 ? 'interval-zero' : 'interval-grid'}
          x1={at(value)}
          x2={at(value)}
          y1="0"
          y2="18"
        />
      ))}
      <line className="interval-line" x1={at(low)} x2={at(high)} y1="9" y2="9" />
      <circle cx={at(mean)} cy="9" r="4.5" />
    </svg>
  )
}

const COLUMNS = [
  { key: 'method' },
  { key: 'budget', unit: 'terms' },
  { key: 'facts' },
  { key: 'score' },
  { key: 'score_low' },
  { key: 'score_high' },
  { key: 'forgets', unit: 'share' },
  { key: 'trained', unit: 'share' },
  { key: 'others', unit: 'share' },
  { key: 'reverse', unit: 'share' },
  { key: 'elsewhere', unit: 'share' },
  { key: 'text', unit: 'share' },
  { key: 'kl', unit: 'nats' },
  { key: 'ce_change', unit: 'nats' },
  { key: 'behind' },
  { key: 'behind_low' },
  { key: 'behind_high' },
  { key: 'verdict' },
]

function flat({ score, forgets, trained, behind, ...row }: MethodSummary) {
  return {
    ...row,
    score: score.mean,
    score_low: score.low,
    score_high: score.high,
    forgets: forgets.mean,
    trained: trained.mean,
    behind: behind?.mean,
    behind_low: behind?.low,
    behind_high: behind?.high,
  }
}
