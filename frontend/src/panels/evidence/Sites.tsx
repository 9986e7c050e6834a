import { useCallback, useMemo } from 'react'
import type { Provenance, SiteSummary } from '@/api/types'
import { figure, siteTail } from '@/api/words'
import { svgOfPlot } from '@/charts/export'
import { baseLayout, type FigureOf, Plot } from '@/charts/Plot'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'
import './evidence.css'

/** Alive components and L0 by layer, one colour per kind of matrix; the table below lists every site. */
export function Sites({ sites, from }: { sites: SiteSummary[]; from: Provenance }) {
  if (sites.length === 0) return null
  const table = () => ({
    columns: [
      { key: 'site' },
      { key: 'layer' },
      { key: 'd_out' },
      { key: 'd_in' },
      { key: 'components' },
      { key: 'stored' },
      { key: 'alive' },
      { key: 'l0', unit: 'components per position' },
      { key: 'faithfulness', unit: 'mean squared error' },
    ],
    rows: sites,
  })
  return (
    <Panel
      title="Components by site"
      aside={`in use from a CI of ${from.threshold}`}
      tools={
        <ExportMenu
          of={from.decomposition}
          name="sites"
          title="Components by site"
          facts={provenanceFacts(from)}
          table={table}
        />
      }
    >
      <div className="curves two">
        <SitePlot sites={sites} value="alive" title="Alive components" from={from} />
        <SitePlot sites={sites} value="l0" title="L0: components in use per position, mean" from={from} />
      </div>
      <details className="more">
        <summary>All {sites.length} sites as a table</summary>
        <TableScroll label="All sites" tall>
          <table className="data">
            <thead>
              <tr>
                <th scope="col">Site</th>
                <th scope="col">Shape</th>
                <th scope="col" className="right">
                  Components
                </th>
                <th scope="col" className="right">
                  Alive
                </th>
                <th scope="col" className="right">
                  L0
                </th>
                <th scope="col" className="right">
                  Faithfulness
                </th>
              </tr>
            </thead>
            <tbody>
              {sites.map((site) => (
                <tr key={site.site}>
                  <th scope="row" className="mono" title={site.site}>
                    {site.short}
                  </th>
                  <td className="num">
                    {site.d_out} × {site.d_in}
                  </td>
                  <td className="right num">{site.components}</td>
                  <td className="right num">{site.alive}</td>
                  <td className="right num">{figure(site.l0)}</td>
                  <td className="right num">{figure(site.faithfulness)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableScroll>
      </details>
    </Panel>
  )
}

// The same order for light and dark; distinct in lightness too, for colour-blind readers.
const KINDS = ['accent', 'up-fill', 'accent-b', 'before', 'weak', 'down-fill', 'good']

function SitePlot({
  sites,
  value,
  title,
  from,
}: {
  sites: SiteSummary[]
  value: 'alive' | 'l0'
  title: string
  from: Provenance
}) {
  const kinds = useMemo(() => [...new Set(sites.map((site) => siteTail(site.site)))], [sites])
  const figureOf = useCallback<FigureOf>(
    (colour) => {
      const layout = baseLayout(colour)
      return {
        data: kinds.map((kind, i) => {
          const own = sites.filter((site) => siteTail(site.site) === kind)
          return {
            type: 'bar',
            name: kind,
            x: own.map((site) => (site.layer === null ? site.short : `L${site.layer}`)),
            y: own.map((site) => site[value]),
            marker: { color: colour(KINDS[i % KINDS.length] ?? 'accent') },
            hovertemplate: `${kind} %{y:.3~g}<extra></extra>`,
          }
        }),
        layout: {
          ...layout,
          xaxis: { ...(layout.xaxis as object), type: 'category' },
          yaxis: { ...(layout.yaxis as object), type: 'linear', nticks: 6 },
          barmode: 'stack',
          bargap: 0.25,
          showlegend: kinds.length > 1,
          legend: { orientation: 'h', y: -0.12, yanchor: 'top', x: 0, font: { size: 11 } },
        },
      }
    },
    [sites, kinds, value],
  )
  const total = sites.reduce((sum, site) => sum + site[value], 0)
  return (
    <figure className="curve">
      <figcaption>
        <span>
          <b>{title}</b> <span className="soft small">{figure(total)} in all</span>
        </span>
        <ExportMenu
          of={from.decomposition}
          name={`${value}-by-site`}
          title={title}
          facts={provenanceFacts(from)}
          figure={() => svgOfPlot(figureOf)}
          table={() => ({
            columns: [{ key: 'site' }, { key: 'layer' }, { key: value }],
            rows: sites,
          })}
        />
      </figcaption>
      <Plot
        figure={figureOf}
        height={216 + 18 * Math.ceil(kinds.length / 4)}
        label={`${title} by layer, ${figure(total)} in all; the table below lists every site`}
      />
    </figure>
  )
}
