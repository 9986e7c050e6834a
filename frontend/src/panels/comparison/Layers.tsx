import { useCallback } from 'react'
import type { Evaluation, LayerEffect, Provenance } from '@/api/types'
import { signed } from '@/api/words'
import { svgOfPlot } from '@/charts/export'
import { baseLayout, type FigureOf, Plot } from '@/charts/Plot'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Panel } from '@/ui/surfaces'
import { share } from './words'
import './comparison.css'

const FIGURES = [
  ['suppressed', 'SPD, one layer at a time', 'change of log p (nats)'],
  ['restored', 'Causal tracing', 'share restored'],
] as const

/** Where the facts sit: suppressing one layer's components, beside causal tracing on the same questions. */
export function Layers({ evaluation, from }: { evaluation: Evaluation; from: Provenance }) {
  const layers = evaluation.layers ?? []
  if (layers.length === 0) return null
  const by = (of: 'suppressed' | 'restored') => layers.filter((one) => typeof one[of] === 'number')
  const strongest = [...by('suppressed')].sort((a, b) => (a.suppressed ?? 0) - (b.suppressed ?? 0))[0]
  const restores = by('restored')[0]
  return (
    <Panel title="Where the facts sit" aside="means over facts, held-out templates">
      <p className="pad">
        {strongest && (
          <>
            Of the {evaluation.config.main} components of each fact, those of layer {strongest.layer} alone do
            most: {signed(strongest.suppressed ?? 0, 2)} nats.{' '}
          </>
        )}
        {restores && (
          <>
            With noise on the subject’s embeddings, putting back the clean state behind layer {restores.layer}{' '}
            at the subject restores {share(restores.restored)} of what the noise took.
          </>
        )}
      </p>
      <div className="budget-curves">
        {FIGURES.filter(([of]) => by(of).length > 0).map(([of, title, axis]) => (
          <LayerFigure key={of} of={of} title={title} axis={axis} layers={by(of)} from={from} />
        ))}
      </div>
    </Panel>
  )
}

function LayerFigure(props: {
  of: 'suppressed' | 'restored'
  title: string
  axis: string
  layers: LayerEffect[]
  from: Provenance
}) {
  const { of, title, axis, layers, from } = props
  const figureOf = useCallback<FigureOf>(
    (colour) => {
      const layout = baseLayout(colour)
      return {
        data: [
          {
            type: 'scatter',
            mode: 'lines+markers',
            x: layers.map((one) => one.layer),
            y: layers.map((one) => one[of]),
            line: { color: colour('accent'), width: 1.8 },
            marker: { size: 7 },
            hovertemplate: 'layer %{x}: %{y:.2f}<extra></extra>',
          },
        ],
        layout: {
          ...layout,
          hovermode: 'closest',
          xaxis: { ...(layout.xaxis as object), dtick: layers.length > 12 ? 5 : 1, title: { text: 'layer' } },
          yaxis: { ...(layout.yaxis as object), rangemode: 'tozero', title: { text: axis, standoff: 4 } },
        },
      }
    },
    [layers, of, axis],
  )
  return (
    <figure className="budget-curve">
      <figcaption>
        <b>{title}</b>
        <ExportMenu
          of={from.decomposition}
          name={`layers-${of}`}
          title={title}
          facts={provenanceFacts(from)}
          figure={() => svgOfPlot(figureOf)}
          table={() => ({ columns: [{ key: 'layer' }, { key: of, unit: axis }], rows: layers })}
        />
      </figcaption>
      <Plot
        figure={figureOf}
        height={220}
        label={`${title}: ${layers.map((one) => `layer ${one.layer}: ${signed(one[of] ?? 0, 2)}`).join(', ')}`}
      />
    </figure>
  )
}
