import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import type { FactRow, FactTable, Provenance } from '@/api/types'
import { plural, probability, visible } from '@/api/words'
import { encodeEntry } from '@/state/basket'
import { encodePrompt } from '@/state/prompts'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Piece } from '@/ui/Piece'
import { SortHead } from '@/ui/SortHead'
import { Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'

type Column = 'subject' | 'probability' | 'components' | 'train_drop' | 'held_out_drop' | 'others_change'

const COLUMNS: [Column, string][] = [
  ['subject', 'Fact'],
  ['probability', 'Probability'],
  ['components', 'Components'],
  ['train_drop', 'Drop, trained'],
  ['held_out_drop', 'Drop, held out'],
  ['others_change', 'Change of others'],
]

const share = (value: number | null, digits = 1) =>
  value === null ? '–' : `${(value * 100).toFixed(digits).replace('-', '−')} %`

const shown = (templates: string[]) => templates.map((one) => `“${one.replace('{}', '…')}”`).join(', ')

function sorted(rows: FactRow[], by: Column, down: boolean): FactRow[] {
  const value = (row: FactRow) => row[by] ?? Number.NEGATIVE_INFINITY
  const order = (a: FactRow, b: FactRow) =>
    by === 'subject' ? a.subject.localeCompare(b.subject) : Number(value(a)) - Number(value(b))
  return [...rows].sort((a, b) => (down ? -order(a, b) : order(a, b)))
}

/** Each fact suppressed in turn: the drop of its own answer, and the change of the others. */
export function FactsPanel({ facts, from }: { facts: FactTable; from: Provenance }) {
  const id = from.decomposition
  const [by, setBy] = useState<Column>('probability')
  const [down, setDown] = useState(true)
  const known = facts.rows.filter((row) => row.kept)
  const unknown = facts.rows.filter((row) => !row.kept)
  const order = (column: Column) => {
    setDown(column === by ? !down : column !== 'subject')
    setBy(column)
  }
  return (
    <Panel
      title="Effect of suppressing each fact"
      aside={`${known.length} facts`}
      tools={
        <ExportMenu
          of={id}
          name="facts"
          title="Effect of suppressing each fact"
          facts={provenanceFacts(from)}
          table={() => ({
            columns: [
              { key: 'subject' },
              { key: 'relation' },
              { key: 'answer' },
              { key: 'rank' },
              { key: 'probability', unit: 'probability' },
              { key: 'kept' },
              { key: 'components' },
              { key: 'train_drop', unit: 'share' },
              { key: 'held_out_drop', unit: 'share' },
              { key: 'others_change', unit: 'share' },
              { key: 'others_worst', unit: 'share' },
              { key: 'others_worst_subject' },
              { key: 'prompt' },
            ],
            rows: facts.rows,
          })}
        />
      }
    >
      <p className="pad">
        Suppressing the components specific to one fact lowers the probability of its answer, on prompts not
        used in training, by <b>{share(facts.held_out_drop)}</b> (median over facts), while the answers of all
        other facts change by <b>{share(facts.others_change)}</b> (median; 95 % of them by less than{' '}
        {share(facts.others_change_95)}).
      </p>
      <TableScroll label="Effect of suppressing each fact" tall>
        <table className="data">
          <thead>
            <tr>
              {COLUMNS.map(([column, label]) => (
                <SortHead
                  key={column}
                  sorted={by !== column ? undefined : down ? 'desc' : 'asc'}
                  onSort={() => order(column)}
                  className={column === 'subject' ? undefined : 'right'}
                >
                  {label}
                </SortHead>
              ))}
              <th scope="col">Most changed</th>
              <th scope="col">
                <span className="hidden-visually">Open</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {sorted(known, by, down).map((row) => (
              <tr key={row.subject}>
                <th scope="row">
                  <span>
                    {row.subject} <Piece text={row.answer} />
                    <small>{row.relation}</small>
                  </span>
                </th>
                <td className="right num">{row.probability === null ? '–' : probability(row.probability)}</td>
                <td className="right num">{row.components}</td>
                <td className="right num">{share(row.train_drop)}</td>
                <td className="right num">
                  <b>{share(row.held_out_drop)}</b>
                </td>
                <td className="right num">{share(row.others_change)}</td>
                <td className="small soft nowrap">
                  {row.others_worst_subject && `${row.others_worst_subject}, ${share(row.others_worst, 0)}`}
                </td>
                <td>
                  {row.group && (
                    <Link
                      to="/d/$id/workbench"
                      params={{ id }}
                      search={{
                        p: [row, neighbour(known, row)].map((one) =>
                          encodePrompt({ text: one.prompt, bos: facts.bos }),
                        ),
                        a: [encodeEntry({ kind: 'group', name: row.group, strength: 1, positions: null })],
                        cond: 'a',
                        w: [...new Set([row.answer, neighbour(known, row).answer])],
                      }}
                      aria-label={`See ${row.subject} suppressed, ${visible(row.answer)}`}
                    >
                      see
                    </Link>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
      <details className="more">
        <summary>
          {plural(unknown.length, 'candidate')} left out: the model does not predict the answer at rank{' '}
          {facts.rank}
        </summary>
        <p className="pad small soft">
          {unknown
            .map((row) =>
              row.rank === null
                ? `${row.subject} (${visible(row.answer)} is not one token)`
                : `${row.subject} (${visible(row.answer)} at rank ${row.rank})`,
            )
            .join(' · ')}
        </p>
      </details>
      <div className="pad small soft">
        <p>
          A fact’s components: those with at least {share(facts.share, 0)} of their causal importance on its
          own training prompts. Only prompts that the original model answers correctly are counted:{' '}
          {facts.train_prompts} trained, {facts.held_out_prompts} held out. Trained templates:{' '}
          {shown(facts.templates)}. Held out: {shown(facts.held_out_templates)}.
        </p>
      </div>
    </Panel>
  )
}

/** Another fact of the same relation, to compare with. */
function neighbour(known: FactRow[], row: FactRow): FactRow {
  const same = known.filter((other) => other.relation === row.relation)
  return same[(same.indexOf(row) + 1) % same.length] ?? row
}
