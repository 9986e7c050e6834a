/** Related components: those that fire at the same positions, and those with similar directions. */
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import type { ComponentHarvest, ComponentLink } from '@/api/types'
import { count, signed } from '@/api/words'
import type { ComponentSearch } from '@/state/lists'
import { Seg } from '@/ui/controls'
import { ExportMenu } from '@/ui/Export'
import { Empty, Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'
import './component.css'

type Near = keyof ComponentHarvest['nearest']
const NEAR_WORDS: Record<Near, [string, string]> = {
  reads: ['similar reads', 'V against V of every site that reads the residual stream'],
  writes: ['similar writes', 'U against U of every site that writes the residual stream'],
  matrix: ['same matrix', 'the rank-1 matrices V Uᵀ, between sites of one shape'],
}

export function Cofiring(props: { id: string; harvest: ComponentHarvest; search: ComponentSearch }) {
  const rows = props.harvest.cofiring
  return (
    <Panel
      title="Co-firing components"
      aside={`over ${count(props.harvest.harvest.sampled_positions)} sampled positions`}
      tools={
        rows.length > 0 && (
          <ExportMenu
            of={props.id}
            name="cofiring"
            title="Co-firing components"
            table={() => ({
              columns: ['component', 'label', 'both', 'jaccard', 'pmi'].map((key) => ({
                key,
                unit: key === 'pmi' ? 'nats' : undefined,
                typed: key === 'label',
              })),
              rows: rows.map(({ component, ...rest }) => ({
                component: component.key,
                label: component.label,
                ...rest,
              })),
            })}
          />
        )
      }
    >
      {rows.length === 0 ? (
        <Empty title="No component fires with it more than once" />
      ) : (
        <TableScroll label="Co-firing components" tall>
          <table className="data compact">
            <thead>
              <tr>
                <th scope="col">Component</th>
                <th scope="col" className="right">
                  Jaccard
                </th>
                <th scope="col" className="right">
                  PMI, nats
                </th>
                <th scope="col" className="right">
                  Both
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.component.key}>
                  <Other id={props.id} to={row.component} search={props.search} />
                  <td className="right num">{row.jaccard.toFixed(2)}</td>
                  <td className="right num">{signed(row.pmi, 2)}</td>
                  <td className="right num">{count(row.both)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableScroll>
      )}
    </Panel>
  )
}

export function Neighbours(props: { id: string; harvest: ComponentHarvest; search: ComponentSearch }) {
  const { nearest } = props.harvest
  const kinds = (Object.keys(NEAR_WORDS) as Near[]).filter((kind) => nearest[kind].length > 0)
  const [chosen, setChosen] = useState<Near>('reads')
  const kind = kinds.includes(chosen) ? chosen : kinds[0]
  const rows = kind ? nearest[kind] : []
  return (
    <Panel
      title="Nearest by cosine"
      aside={kind && NEAR_WORDS[kind][1]}
      tools={
        kinds.length > 1 && (
          <Seg
            label="Similarity of"
            value={kind ?? 'reads'}
            options={kinds.map((one) => ({ value: one, label: NEAR_WORDS[one][0] }))}
            onChange={setChosen}
          />
        )
      }
    >
      {rows.length === 0 ? (
        <Empty title="No other component can be compared with it" />
      ) : (
        <TableScroll label="Nearest by cosine" tall>
          <table className="data compact">
            <thead>
              <tr>
                <th scope="col">Component</th>
                <th scope="col" className="right">
                  Cosine
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.component.key}>
                  <Other id={props.id} to={row.component} search={props.search} />
                  <td className="right num">{signed(row.cosine, 2)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableScroll>
      )}
    </Panel>
  )
}

function Other({ id, to, search }: { id: string; to: ComponentLink; search: ComponentSearch }) {
  return (
    <th scope="row">
      <Link to="/d/$id/c/$key" params={{ id, key: to.key }} search={search} className="mono">
        {to.short}
      </Link>
      <span className="other-label soft">{to.label}</span>
    </th>
  )
}
