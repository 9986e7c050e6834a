import { useCallback } from 'react'
import type { Evaluation, Provenance } from '@/api/types'
import { svgOfPlot } from '@/charts/export'
import { baseLayout, type FigureOf, Plot } from '@/charts/Plot'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Panel } from '@/ui/surfaces'
import { isGated, ranking, score, titleOf } from './words'
import './comparison.css'

const CURVES = [
  ['score', 'Score'],
  ['forgets', 'Forgetting'],
] as const

/** The best other method at the main budget. */
const rivalOf = (evaluation: Evaluation) =>
  ranking(evaluation, evaluation.config.main).find((row) => row.method !== evaluation.first)?.method

/** Score and forgetting by the number of terms, SPD in front. */
export function BudgetCurves({ evaluation, from }: { evaluation: Evaluation; from: Provenance }) {
  if (evaluation.config.budgets.length < 2) return null
  const rival = rivalOf(evaluation)
  return (
    <Panel
      title="By budget"
      aside={
        <>
          <span className="method-key" /> SPD
          {rival && (
            <>
              <span className="method-key rival" /> {titleOf(evaluation, rival)}
            </>
          )}
          <span className="method-key rest" /> the others
        </>
      }
    >
      <div className="budget-curves">
        {CURVES.map(([of, label]) => (
          <BudgetCurve key={of} of={of} label={label} evaluation={evaluation} from={from} />
        ))}
      </div>
    </Panel>
  )
}

function BudgetCurve(props: {
  of: 'score' | 'forgets'
  label: string
  evaluation: Evaluation
  from: Provenance
}) {
  const { of, label, evaluation, from } = props
  const { budgets } = evaluation.config
  const figureOf = useCallback<FigureOf>(
    (colour) => {
      const layout = baseLayout(colour)
      const names = evaluation.methods
        .map((method) => method.name)
        .filter((name) => !isGated(evaluation, name))
      const front = [rivalOf(evaluation), evaluation.first].filter((name) => name !== undefined)
      const ordered = [...names.filter((name) => !front.includes(name)), ...front]
      return {
        data: ordered.map((name) => {
          const own = front.includes(name)
          const tone = name === evaluation.first ? 'accent' : own ? 'accent-b' : 'line-strong'
          const rows = evaluation.summary.filter((row) => row.method === name)
          return {
            type: 'scatter',
            mode: 'lines+markers',
            name: titleOf(evaluation, name),
            x: rows.map((row) => row.budget),
            y: rows.map((row) => row[of].mean),
            line: { color: colour(tone), width: own ? 2.6 : 1.4 },
            marker: { size: own ? 7 : 4 },
            hovertemplate: '%{fullData.name}: %{y:.2f}<extra></extra>',
          }
        }),
        layout: {
          ...layout,
          hovermode: 'closest',
          xaxis: {
            ...(layout.xaxis as object),
            type: 'log',
            tickvals: budgets,
            ticktext: budgets.map(String),
            title: { text: 'terms', standoff: 6 },
          },
          yaxis: { ...(layout.yaxis as object), tickformat: '.1f' },
        },
      }
    },
    [evaluation, of, budgets],
  )
  const own = evaluation.summary.filter((row) => row.method === evaluation.first)
  return (
    <figure className="budget-curve">
      <figcaption>
        <b>{label}</b>
        <ExportMenu
          of={from.decomposition}
          name={`budget-${of}`}
          title={`${label} by budget`}
          facts={provenanceFacts(from)}
          figure={() => svgOfPlot(figureOf)}
          table={() => ({
            columns: [{ key: 'method' }, { key: 'budget', unit: 'terms' }, { key: of }],
            rows: evaluation.summary.map((row) => ({
              method: row.method,
              budget: row.budget,
              [of]: row[of].mean,
            })),
          })}
        />
      </figcaption>
      <Plot
        figure={figureOf}
        height={230}
        label={`${label} of SPD by budget: ${own.map((row) => `${row.budget}: ${score(row[of].mean)}`).join(', ')}`}
      />
    </figure>
  )
}
