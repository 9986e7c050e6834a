import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { nats, probabilityChange, shortKey, signed, visible } from '@/api/words'
import { basketKeys, sameThing, toggleEntry } from '@/state/basket'
import { RANKS, type Rank } from '@/state/lab'
import type { SweepRow } from '@/state/sweep'
import type { SweepRun } from '@/state/useSweep'
import type { Workbench } from '@/state/useWorkbench'
import { BasketButtons } from '@/ui/BasketButtons'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { SortHead } from '@/ui/SortHead'
import { TableScroll } from '@/ui/TableScroll'
import './sweep.css'

const FIRST = 25

/** The ranked rows, with buttons for the baskets. */
export function SweepTable(props: {
  bench: Workbench
  run: SweepRun
  rows: SweepRow[]
  by: Rank
  measures: Record<Rank, string>
  onBy: (by: Rank) => void
}) {
  const { bench, rows, by, run } = props
  const [many, setMany] = useState(FIRST)
  const most = Math.max(1e-12, ...rows.slice(0, 1).map((row) => Math.abs(row[by] ?? 0)))
  const held = {
    a: basketKeys(bench.baskets.a, bench.groupsByName),
    b: basketKeys(bench.baskets.b, bench.groupsByName),
  }
  const has: Record<Rank, boolean> = {
    kl: true,
    watched: run.asked.token !== null,
    contrast: run.asked.contrast !== null,
    ce: run.asked.token !== null,
  }
  const columns = RANKS.filter((one) => has[one])
  const heads: Record<Rank, string> = {
    kl: 'KL, nats',
    watched: `Δ p ${visible(run.asked.token ?? '')}, pp`,
    contrast: `Δ logit ${run.asked.contrast?.map(visible).join(' − ') ?? ''}`,
    ce: `Δ cross-entropy ${visible(run.asked.token ?? '')}`,
  }
  return (
    <>
      <TableScroll label="Sweep" tall>
        <table className="numbers sweep-table" aria-label="Components, each suppressed alone">
          <thead>
            <tr>
              <th scope="col">#</th>
              <th scope="col" className="left">
                Component
              </th>
              {columns.map((one) => (
                <SortHead key={one} sorted={one === by ? 'desc' : undefined} onSort={() => props.onBy(one)}>
                  {heads[one]}
                </SortHead>
              ))}
              <th scope="col">Basket</th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, many).map((row, i) => {
              const key = row.key ?? ''
              return (
                <tr key={row.number}>
                  <td className="faint">{i + 1}</td>
                  <th scope="row" className="left">
                    <Link to="/d/$id/c/$key" params={{ id: bench.id, key }}>
                      {shortKey(key)}
                    </Link>
                    <small>{bench.labels?.get(key)?.label ?? ''}</small>
                    <i
                      className="sweep-bar"
                      aria-hidden="true"
                      style={{ width: `${(Math.abs(row[by] ?? 0) / most) * 100}%` }}
                    />
                  </th>
                  {columns.map((one) => (
                    <td key={one} className={one === by ? 'strong' : undefined}>
                      {value(row, one)}
                    </td>
                  ))}
                  <td>
                    <BasketButtons
                      what={shortKey(key)}
                      own={(which) =>
                        bench.baskets[which].some((entry) =>
                          sameThing(entry, { kind: 'component', name: key }),
                        )
                      }
                      within={(which) => held[which].has(key)}
                      onToggle={(which) =>
                        bench.setBasket(
                          which,
                          toggleEntry(bench.baskets[which], { kind: 'component', name: key }),
                        )
                      }
                    />
                  </td>
                </tr>
              )
            })}
          </tbody>
        </table>
      </TableScroll>
      {rows.length > many && (
        <div className="pad row">
          <Button size="small" onClick={() => setMany(many + 100)}>
            <Icon name="down" /> Show {Math.min(100, rows.length - many)} more
          </Button>
          <span className="small soft">
            {many} of {rows.length} are listed; all of them are in the export.
          </span>
        </div>
      )}
    </>
  )
}

function value(row: SweepRow, measure: Rank): string {
  const number = row[measure]
  if (number === null) return '–'
  return measure === 'kl'
    ? nats(number)
    : measure === 'watched'
      ? probabilityChange(number)
      : signed(number, 3)
}
