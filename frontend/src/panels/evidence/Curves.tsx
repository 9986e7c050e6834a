import { useCallback } from 'react'
import type { Curve, Provenance } from '@/api/types'
import { figure, measured } from '@/api/words'
import { svgOfPlot } from '@/charts/export'
import { baseLayout, type FigureOf, Plot } from '@/charts/Plot'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Panel } from '@/ui/surfaces'
import './evidence.css'

export function Curves({ curves, from }: { curves: Curve[]; from: Provenance }) {
  if (curves.length === 0) return null
  const flat = curves.filter((curve) => new Set(curve.values.filter((value) => value !== null)).size <= 1)
  const moving = curves.filter((curve) => !flat.includes(curve))
  return (
    <Panel
      title="Training"
      aside="logarithmic, by step"
      tools={
        <ExportMenu
          of={from.decomposition}
          name="training"
          title="Training"
          facts={provenanceFacts(from)}
          table={() => ({
            columns: [{ key: 'curve' }, { key: 'unit' }, { key: 'step' }, { key: 'value' }],
            rows: curves.flatMap(({ name, unit, steps, values }) =>
              steps.map((step, i) => ({ curve: name, unit, step, value: values[i] })),
            ),
          })}
        />
      }
    >
      <div className="curves">
        {moving.map((curve) => (
          <CurvePlot key={curve.name} curve={curve} from={from} />
        ))}
      </div>
      {flat.length > 0 && (
        <p className="pad small soft">
          The same at every step:{' '}
          {flat
            .map((curve) => `${curve.label} ${measured(curve.values[0], curve.unit)} ${curve.unit}`.trim())
            .join(', ')}
          .
        </p>
      )}
    </Panel>
  )
}

function CurvePlot({ curve, from }: { curve: Curve; from: Provenance }) {
  const last = curve.values.findLast((value) => value !== null)
  const positive = curve.values.every((value) => value === null || value > 0)
  const figureOf = useCallback<FigureOf>(
    (colour) => {
      const layout = baseLayout(colour)
      return {
        data: [
          {
            type: 'scatter',
            mode: 'lines',
            x: curve.steps,
            y: curve.values,
            line: { color: colour('accent'), width: 1.8 },
            hovertemplate: `%{y:.3~g} ${curve.unit}<extra></extra>`,
          },
        ],
        layout: {
          ...layout,
          xaxis: { ...(layout.xaxis as object), type: 'linear', nticks: 5 },
          yaxis: {
            ...(layout.yaxis as object),
            type: positive ? 'log' : 'linear',
            ...(positive ? logTicks(curve) : { nticks: 5 }),
          },
        },
      }
    },
    [curve, positive],
  )
  return (
    <figure className="curve">
      <figcaption>
        <span>
          <b>{curve.label}</b>{' '}
          <span className="soft small">
            {curve.unit && `${curve.unit}, `}ends at <span className="num">{measured(last, curve.unit)}</span>
          </span>
        </span>
        <ExportMenu
          of={from.decomposition}
          name={`curve-${curve.name}`}
          title={`${curve.label}${curve.unit && `, ${curve.unit}`}`}
          facts={provenanceFacts(from)}
          figure={() => svgOfPlot(figureOf)}
          table={() => ({
            columns: [{ key: 'step' }, { key: curve.name, unit: curve.unit || undefined }],
            rows: curve.steps.map((step, i) => ({ step, [curve.name]: curve.values[i] })),
          })}
        />
      </figcaption>
      <Plot
        figure={figureOf}
        height={190}
        label={`${curve.label} over ${curve.steps.length} steps, ending at ${measured(last, curve.unit)} ${curve.unit}`}
      />
    </figure>
  )
}

/** Ticks of a logarithmic axis as plain numbers: powers of ten, and 2 and 5 between them where they are few. */
function logTicks(curve: Curve) {
  const known = curve.values.filter((value) => value !== null)
  const [low, high] = [Math.min(...known), Math.max(...known)]
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))]
  const step = Math.max(1, Math.ceil((last - first) / 5))
  const between = last - first <= 2 ? [1, 2, 5] : [1]
  const tickvals: number[] = []
  for (let decade = first; decade <= last; decade += step)
    for (const one of between) tickvals.push(one * 10 ** decade)
  return {
    tickmode: 'array',
    tickvals,
    ticktext: tickvals.map((value) => figure(Number(value.toPrecision(2)))),
  }
}
