import { useCallback } from 'react'
import type { Evaluation, Provenance } from '@/api/types'
import { shortKey, signed } from '@/api/words'
import { svgOfPlot } from '@/charts/export'
import { baseLayout, type FigureOf, Plot } from '@/charts/Plot'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Panel } from '@/ui/surfaces'

/** How far the effects of two components of a fact add up. */
export function Pairs({ evaluation, from }: { evaluation: Evaluation; from: Provenance }) {
  const pairs = evaluation.pairs ?? []
  const figureOf = useCallback<FigureOf>(
    (colour) => {
      const layout = baseLayout(colour)
      const sums = pairs.map((pair) => pair.effect_first + pair.effect_second)
      const ends = [Math.min(0, ...sums), Math.max(0, ...sums)]
      return {
        data: [
          {
            type: 'scatter',
            mode: 'lines',
            x: ends,
            y: ends,
            line: { color: colour('line-strong'), width: 1, dash: 'dot' },
            hoverinfo: 'skip',
          },
          {
            type: 'scatter',
            mode: 'markers',
            x: sums,
            y: pairs.map((pair) => pair.effect_both),
            text: pairs.map((pair) => `${pair.fact}<br>${shortKey(pair.first)} + ${shortKey(pair.second)}`),
            marker: { color: colour('accent'), size: 6, opacity: 0.65 },
            hovertemplate: '%{text}<br>alone, added: %{x:.2f}<br>together: %{y:.2f}<extra></extra>',
          },
        ],
        layout: {
          ...layout,
          hovermode: 'closest',
          xaxis: { ...(layout.xaxis as object), title: { text: 'the two alone, added (nats)', standoff: 6 } },
          yaxis: { ...(layout.yaxis as object), title: { text: 'both together (nats)', standoff: 4 } },
        },
      }
    },
    [pairs],
  )
  if (pairs.length === 0) return null
  const more = pairs.filter((pair) => pair.interaction < -0.1).length
  const less = pairs.filter((pair) => pair.interaction > 0.1).length
  const mean = pairs.reduce((sum, pair) => sum + pair.interaction, 0) / pairs.length
  return (
    <Panel
      title="Do effects add up?"
      aside={`${pairs.length} pairs of components within a fact`}
      tools={
        <ExportMenu
          of={from.decomposition}
          name="pairs"
          title="Pairs of components"
          facts={provenanceFacts(from)}
          figure={() => svgOfPlot(figureOf)}
          table={() => ({
            columns: [
              { key: 'fact' },
              { key: 'first' },
              { key: 'second' },
              { key: 'effect_first', unit: 'nats' },
              { key: 'effect_second', unit: 'nats' },
              { key: 'effect_both', unit: 'nats' },
              { key: 'interaction', unit: 'nats' },
            ],
            rows: pairs,
          })}
        />
      }
    >
      <p className="pad">
        Change of the answer’s log-probability when both of a pair are suppressed, beside the sum of each
        alone. On the dotted line they add up; below it the two together do more. {more} of {pairs.length}{' '}
        pairs do more than their sum by over 0.1 nats, {less} do less; the mean interaction is{' '}
        {signed(mean, 2)} nats.
      </p>
      <div className="pad">
        <Plot
          figure={figureOf}
          height={300}
          label={`Effect of pairs against the sum of their parts: ${more} more, ${less} less, of ${pairs.length}`}
        />
      </div>
    </Panel>
  )
}
