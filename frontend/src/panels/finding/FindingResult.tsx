import { useMemo, useState } from 'react'
import type { Ablation, Finding } from '@/api/types'
import { nats, probability, probabilityChange, rank, shortKey, signed, unit, visible } from '@/api/words'
import { KLStrip, PairBars } from '@/charts/Bars'
import { barsSvg } from '@/charts/barsFigure'
import { CIGrid } from '@/charts/CIGrid'
import type { Place } from '@/charts/grid'
import { gridSvg, gridTable } from '@/charts/gridFigure'
import { Legend } from '@/charts/Legend'
import { gridRows, gridValues, indexImportances, matchSelection } from '@/state/importances'
import { resolvePosition } from '@/state/prompts'
import { describeShift, logChange, shiftAt, shiftRows } from '@/state/shift'
import { shiftTable } from '@/state/shiftTable'
import { TRUST_WORDS, trustFigure } from '@/state/trust'
import { layerOpener } from '@/state/workbench'
import { type Facts, provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Piece } from '@/ui/Piece'
import { Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'
import './finding.css'

type Result = Finding['results'][number]

/** One prompt of a finding as recorded, with the values of a re-run beside it. */
export function FindingResult(props: {
  slug: string
  index: number
  result: Result
  sentence: string | null
  focus: number
  answer: string | null
  maxKl: number
  replayed: Ablation | null
}) {
  const { result: ablation, importances, trust } = props.result
  const name = `Prompt ${props.index + 1}`
  const [position, setPosition] = useState(resolvePosition(props.focus, ablation.tokens.length))
  const shift = shiftAt(ablation, position)
  const again = props.replayed && shiftAt(props.replayed, position)
  const described = shift && describeShift(shift, props.answer, ablation.components > 0)
  const atFocus = position === resolvePosition(props.focus, ablation.tokens.length)
  const rows = shift ? shiftRows(shift) : []
  const max = Math.max(
    0.01,
    ...rows.map((row) => Math.max(row.baseline.probability, row.ablated.probability)),
  )
  const file = { of: props.slug, facts: provenanceFacts(ablation.provenance) }
  const which = `prompt-${props.index + 1}`
  const kl = ablation.tokens.map((_, i) => shiftAt(ablation, i)?.kl ?? 0)
  const anew = new Map((again ? shiftRows(again) : []).map((row) => [row.token_id, row]))
  return (
    <Panel
      title={
        <span className="finding-prompt mono">
          {ablation.tokens.map((token, i) => (
            <Piece key={i} text={token.piece} />
          ))}
        </span>
      }
      aside={props.result.request.bos ? 'with BOS' : 'no BOS'}
      tools={
        <ExportMenu
          {...file}
          name={`${which}-output-shift`}
          title={`Output shift, ${name}`}
          table={() => shiftTable([{ prompt: name, ablation }])}
        />
      }
    >
      <div className="pad">
        {trust && (
          <p className="small soft" title={trust.sentence}>
            <span className={`badge ${TRUST_WORDS[trust.level].tone}`}>{TRUST_WORDS[trust.level].word}</span>{' '}
            {trustFigure(trust)}
          </p>
        )}
        <p className="sentence">
          {atFocus && props.sentence
            ? props.sentence
            : described && (
                <>
                  <b>{visible(described.token)}</b>{' '}
                  {described.verb === 'is'
                    ? 'is at'
                    : described.verb === 'stays'
                      ? 'stays:'
                      : `${described.verb} from`}{' '}
                  {probability(described.before)}
                  {described.verb !== 'is' && (
                    <>
                      {' '}
                      to <b>{probability(described.after)}</b>
                    </>
                  )}
                </>
              )}
        </p>
        <TableScroll label={`Output shift table, ${name}`}>
          <table className="numbers shift-table" aria-label={`Tokens of ${name}, before and after`}>
            <thead>
              <tr>
                <th scope="col" colSpan={2} className="left">
                  Token
                </th>
                <th scope="col">Before</th>
                <th scope="col">After</th>
                {again && <th scope="col">Re-run</th>}
                <th scope="col">Δ p, pp</th>
                <th scope="col">Δ log p</th>
                <th scope="col">Rank</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => {
                const dp = row.ablated.probability - row.baseline.probability
                const fresh = anew.get(row.token_id)
                return (
                  <tr key={row.token_id}>
                    <th scope="row" className="left">
                      <Piece text={row.token} />
                    </th>
                    <td className="bars">
                      <PairBars before={row.baseline.probability} after={row.ablated.probability} max={max} />
                    </td>
                    <td>{probability(row.baseline.probability)}</td>
                    <td className="strong">{probability(row.ablated.probability)}</td>
                    {again && (
                      <td className="rerun">{fresh ? probability(fresh.ablated.probability) : '–'}</td>
                    )}
                    <td className={Math.abs(dp) < 1e-4 ? 'faint' : dp < 0 ? 'down' : 'up'}>
                      {probabilityChange(dp)}
                    </td>
                    <td>{signed(logChange(row), 2)}</td>
                    <td>
                      {row.baseline.rank === row.ablated.rank
                        ? rank(row.baseline.rank)
                        : `${rank(row.baseline.rank)}→${rank(row.ablated.rank)}`}
                    </td>
                  </tr>
                )
              })}
            </tbody>
          </table>
        </TableScroll>
        <div className="kl-line small soft">
          <span>KL by position, nats; select a token to see its table</span>
          <span className="row">
            <span className="num">max {nats(ablation.max_kl)}</span>
            <ExportMenu
              {...file}
              name={`${which}-kl`}
              title={`KL by position, ${name}`}
              table={() => ({
                columns: [
                  { key: 'position' },
                  { key: 'token_id' },
                  { key: 'token' },
                  { key: 'kl', unit: 'nats' },
                ],
                rows: ablation.tokens.map(({ id, piece }, i) => ({
                  position: i,
                  token_id: id,
                  token: piece,
                  kl: kl[i],
                })),
              })}
              figure={() =>
                barsSvg({ tokens: ablation.tokens.map((token) => token.piece), values: kl, unit: 'KL, nats' })
              }
            />
          </span>
        </div>
        <KLStrip
          label={`KL by position of ${name}`}
          tokens={ablation.tokens.map((token) => token.piece)}
          kl={kl}
          max={Math.max(props.maxKl, 1e-2)}
          chosen={position}
          onChoose={setPosition}
        />
      </div>
      {importances && (
        <Heatmap importances={importances} name={name} file={{ ...file, name: `${which}-ci` }} />
      )}
    </Panel>
  )
}

function Heatmap({
  importances,
  name,
  file,
}: {
  importances: NonNullable<Result['importances']>
  name: string
  file: { of: string; name: string; facts: Facts }
}) {
  const [selected, setSelected] = useState<Place>({ block: 0, row: null, column: null })
  const [open, setOpen] = useState<string | undefined>(undefined)
  const index = useMemo(() => indexImportances(importances), [importances])
  const rows = useMemo(() => gridRows(index.sites, layerOpener(open, index.sites.length)), [index, open])
  const threshold = importances.provenance.threshold
  const values = useMemo(() => gridValues(index, rows, 'max', threshold), [index, rows, threshold])
  const blocks = [{ name, tokens: importances.tokens, values, stale: false }]
  const chosen = selected.row !== null || selected.column !== null
  const row = rows.find((one) => one.id === selected.row)
  const matches = chosen ? matchSelection(index, row?.sites ?? null, selected.column, threshold) : []
  const fold = (layer: number) => {
    const next = rows
      .filter((row) => row.kind === 'layer' && row.open !== (row.layer === layer))
      .map((row) => row.layer)
    setOpen(next.length === 0 ? 'none' : next.join(','))
  }
  return (
    <details className="more" open>
      <summary>Causal importance</summary>
      <CIGrid
        rows={rows}
        blocks={blocks}
        show="max"
        scale="linear"
        top={1}
        selected={selected}
        onSelect={setSelected}
        onFold={fold}
        hint="Click a cell, a site or a token to see the components behind it."
      />
      {chosen && (
        <ul className="chips pad" aria-label="Components at the selection">
          {matches.slice(0, 12).map((match) => (
            <li key={match.trace.key} className="badge">
              <span className="mono">{shortKey(match.trace.key)}</span> {unit(match.ci)}
            </li>
          ))}
          {matches.length > 12 && (
            <li className="small soft">and {matches.length - 12} more; the workbench lists them all</li>
          )}
          {matches.length === 0 && <li className="small soft">none from {threshold}</li>}
        </ul>
      )}
      <div className="grid-foot">
        <Legend show="max" scale="linear" top={1} threshold={threshold} />
        <span className="grow" />
        <ExportMenu
          {...file}
          title={`Causal importance, ${name}`}
          table={() => gridTable({ rows, blocks, show: 'max' })}
          figure={() => gridSvg({ rows, blocks, show: 'max', scale: 'linear', top: 1, threshold })}
        />
      </div>
    </details>
  )
}
