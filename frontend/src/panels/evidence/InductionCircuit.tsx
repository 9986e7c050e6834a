import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { queries } from '@/api/queries'
import type { StoredCircuit } from '@/api/types'
import { layerOf, shortSite, unit, visible } from '@/api/words'
import { HeadLegend, HeadMap } from '@/charts/HeadMap'
import { Legend } from '@/charts/Legend'
import { level, usePalette } from '@/charts/palette'
import { Seg } from '@/ui/controls'
import { Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'
import './evidence.css'

/** The induction circuit on one sequence: the active components by position, and the attention of both layers. */
export function InductionCircuit({ id, sites }: { id: string; sites: string[] }) {
  const query = useQuery(queries.storedCircuit(id))
  const [masks, setMasks] = useState<'target' | 'masks'>('target')
  const circuit = query.data
  if (!circuit?.marks) return null
  const { marks } = circuit
  const places = [
    { name: 'BOS', position: 0 },
    ...Object.entries(marks).map(([name, position]) => ({ name, position })),
  ]
  const attention = masks === 'masks' ? circuit.masked_attention : circuit.attention
  return (
    <Panel
      title="The circuit on one sequence"
      aside="held out"
      tools={<Legend show="max" scale="linear" top={1} threshold={0} />}
    >
      <p className="pad">
        The sequence ends with S, which occurs once before. To copy the token <b>m</b> that followed it,{' '}
        <b>m</b> attends in layer 0 to <b>s1</b>, the S before it, and records that it follows an S; in layer
        1 the last S, <b>s2</b>, attends to the token with that record and copies it to the output.{' '}
        <Link to="/d/$id/circuit" params={{ id }}>
          Open it as a graph
        </Link>
      </p>
      <Places circuit={circuit} id={id} sites={sites} marks={places} />
      <div className="pad attention-maps">
        {circuit.masked_attention && (
          <Seg
            label="Model"
            value={masks}
            options={[
              { value: 'target', label: 'The target' },
              { value: 'masks', label: 'Causal importances as masks' },
            ]}
            onChange={setMasks}
          />
        )}
        <div className="attention-pair">
          {attention?.map((rows, layer) => (
            <figure key={layer}>
              <figcaption>Attention of layer {layer}</figcaption>
              <HeadMap
                values={rows}
                tokens={circuit.pieces}
                difference={false}
                label={`Attention of layer ${layer}`}
                size={6 * rows.length}
                marks={places}
              />
            </figure>
          ))}
        </div>
        <HeadLegend difference={false} />
      </div>
    </Panel>
  )
}

/** Sites by marked positions: the active components, with their CI on this sequence and the mean over many. */
function Places(props: {
  circuit: StoredCircuit
  id: string
  sites: string[]
  marks: { name: string; position: number }[]
}) {
  const { circuit, marks, id } = props
  const { ramp, ink } = usePalette()
  const marked = new Set(marks.map((mark) => mark.position))
  // A site without active components has a row too: that the target does not need it is a result.
  const shown = props.sites.filter(
    (site) => circuit.use?.[site] || circuit.acting.some((one) => one.site === site),
  )
  return (
    <TableScroll label="Active components by position">
      <table className="data circuit-places" aria-label="Active components by position">
        <thead>
          <tr>
            <th scope="col">Site</th>
            {marks.map(({ name, position }) => (
              <th scope="col" key={name}>
                <b>{name}</b>{' '}
                <span className="mono soft">
                  {visible(circuit.pieces[position] ?? '')} {position}
                </span>
              </th>
            ))}
            <th scope="col">elsewhere</th>
          </tr>
        </thead>
        <tbody>
          {shown.map((site) => {
            const use = circuit.use?.[site]
            const others = circuit.acting.filter((one) => one.site === site && !marked.has(one.position))
            return (
              <tr key={site} className={layerOf(site) === 1 ? 'second' : undefined}>
                <th scope="row" className="mono">
                  {shortSite(site)}
                </th>
                {marks.map(({ name, position }) => (
                  <td key={name}>
                    <span className="chips">
                      {circuit.acting
                        .filter((one) => one.site === site && one.position === position)
                        .map((one) => (
                          <Link
                            key={one.component}
                            to="/d/$id/c/$key"
                            params={{ id, key: `${site}:${one.component}` }}
                            className="circuit-chip"
                            style={{
                              background: ramp[level(one.ci, 'linear')],
                              color: ink[level(one.ci, 'linear')],
                            }}
                          >
                            <span className="hidden-visually">{shortSite(site)}:</span>
                            {one.component}{' '}
                            <small>
                              <span className="hidden-visually">CI </span>
                              {unit(one.ci)}
                            </small>
                          </Link>
                        ))}
                    </span>
                    {use?.marks[name] !== undefined && (
                      <span className="small soft num"> mean {use.marks[name].toFixed(2)}</span>
                    )}
                  </td>
                ))}
                <td className="small soft">
                  {others.length === 0
                    ? 'nothing'
                    : `${new Set(others.map((one) => one.component)).size} at ${new Set(others.map((one) => one.position)).size} positions`}
                  {use && (
                    <span className="num">, mean {Math.max(0, use.elsewhere).toFixed(3)} a position</span>
                  )}
                </td>
              </tr>
            )
          })}
        </tbody>
      </table>
    </TableScroll>
  )
}
