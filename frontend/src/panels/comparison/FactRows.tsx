import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import type { Evaluation, Provenance } from '@/api/types'
import { plural, probability, visible } from '@/api/words'
import { type BasketEntry, encodeEntry } from '@/state/basket'
import { encodePrompt } from '@/state/prompts'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Piece } from '@/ui/Piece'
import { SortHead } from '@/ui/SortHead'
import { Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'
import { type FactComparison, factComparisons, score, share, titleOf } from './words'
import './comparison.css'

type Column = 'name' | 'probability' | 'forgets' | 'damage' | 'score' | 'best' | 'margin'

const COLUMNS: [Column, string][] = [
  ['name', 'Fact'],
  ['probability', 'Probability'],
  ['forgets', 'SPD forgets'],
  ['damage', 'SPD damages'],
  ['score', 'SPD score'],
  ['best', 'Best other'],
  ['margin', 'Ahead by'],
]

function value(row: FactComparison, column: Column): number | string {
  if (column === 'name') return row.name
  if (column === 'probability') return row.probability
  if (column === 'best') return row.best?.score ?? 0
  return column === 'margin' ? row.margin : row.own[column]
}

/** Each fact: SPD beside the best other method. Where it loses most comes first; a row opens in the workbench. */
export function FactRows(props: { evaluation: Evaluation; from: Provenance; bos: boolean }) {
  const { evaluation, from } = props
  const [by, setBy] = useState<Column>('margin')
  const [down, setDown] = useState(false)
  const rows = factComparisons(evaluation).sort((a, b) => {
    const [x, y] = [value(a, by), value(b, by)]
    const order = typeof x === 'string' ? x.localeCompare(String(y)) : x - Number(y)
    return down ? -order : order
  })
  const order = (column: Column) => {
    setDown(column === by ? !down : column !== 'name' && column !== 'margin')
    setBy(column)
  }
  return (
    <Panel
      title="Facts"
      aside={`${plural(evaluation.config.main, 'term')} each`}
      tools={
        <ExportMenu
          of={from.decomposition}
          name="evaluation"
          title="Facts under every method"
          facts={{ ...provenanceFacts(from), seed: evaluation.config.seed }}
          table={() => ({
            columns: ROW_COLUMNS,
            rows: evaluation.rows.map(({ others, reverse, elsewhere, text, parts, ...row }) => ({
              ...row,
              parts: parts.join(' + '),
              others: others?.change,
              reverse: reverse?.change,
              elsewhere: elsewhere?.change,
              text: text?.damage,
              kl: text?.kl,
              ce_change: text?.ce_change,
            })),
          })}
        />
      }
    >
      <TableScroll label="Facts" tall>
        <table className="data">
          <thead>
            <tr>
              {COLUMNS.map(([column, label]) => (
                <SortHead
                  key={column}
                  sorted={by !== column ? undefined : down ? 'desc' : 'asc'}
                  onSort={() => order(column)}
                  className={column === 'name' ? undefined : 'right'}
                >
                  {label}
                </SortHead>
              ))}
              <th scope="col">
                <span className="hidden-visually">Open</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.name}>
                <th scope="row">
                  <span>
                    {row.name} <Piece text={row.answer} />
                    <small>{row.relation}</small>
                  </span>
                </th>
                <td className="right num">{probability(row.probability)}</td>
                <td className="right num">{share(row.own.forgets)}</td>
                <td className="right num">{share(row.own.damage)}</td>
                <td className="right num">
                  <b>{score(row.own.score)}</b>
                </td>
                <td className="right num">
                  {row.best ? score(row.best.score) : '–'}
                  {row.best && (
                    <small className="soft interval-text">{titleOf(evaluation, row.best.method)}</small>
                  )}
                </td>
                <td className={`right num ${row.margin < 0 ? 'margin-behind' : ''}`}>{score(row.margin)}</td>
                <td>
                  <Link
                    to="/d/$id/workbench"
                    params={{ id: from.decomposition }}
                    search={{
                      p: [encodePrompt({ text: row.prompt, bos: props.bos })],
                      a: row.own.parts.map((name) => encodeEntry(component(name))),
                      cond: 'a',
                      w: [row.answer],
                    }}
                    aria-label={`See ${row.name} suppressed, ${visible(row.answer)}`}
                  >
                    see
                  </Link>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
    </Panel>
  )
}

const component = (name: string): BasketEntry => ({ kind: 'component', name, strength: 1, positions: null })

const ROW_COLUMNS = [
  { key: 'fact' },
  { key: 'method' },
  { key: 'budget', unit: 'terms' },
  { key: 'score' },
  { key: 'forgets', unit: 'share' },
  { key: 'trained', unit: 'share' },
  { key: 'nats', unit: 'nats' },
  { key: 'rank_before' },
  { key: 'rank_after' },
  { key: 'damage', unit: 'share' },
  { key: 'others', unit: 'share' },
  { key: 'reverse', unit: 'share' },
  { key: 'elsewhere', unit: 'share' },
  { key: 'text', unit: 'share' },
  { key: 'kl', unit: 'nats' },
  { key: 'ce_change', unit: 'nats' },
  { key: 'parts' },
]
