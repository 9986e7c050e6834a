import {
  createSortedRowModel,
  rowSortingFeature,
  type SortingState,
  tableFeatures,
  useTable,
} from '@tanstack/react-table'
import { useMemo } from 'react'
import { probability, probabilityChange, rank, signed } from '@/api/words'
import { PairBars } from '@/charts/Bars'
import { logChange, type ShiftRow } from '@/state/shift'
import type { ShiftSort } from '@/state/workbench'
import { Icon } from '@/ui/Icon'
import { Piece } from '@/ui/Piece'
import { SortHead } from '@/ui/SortHead'
import { TableScroll } from '@/ui/TableScroll'
import './shift.css'

export interface TableRow extends ShiftRow {
  interaction: number | null
}

const features = tableFeatures({ rowSortingFeature, sortedRowModel: createSortedRowModel() })

const VALUES: Record<ShiftSort, { head: string; value: (row: TableRow) => number | string }> = {
  token: { head: 'Token', value: (row) => row.token.trim().toLowerCase() },
  before: { head: 'Before', value: (row) => row.baseline.probability },
  after: { head: 'After', value: (row) => row.ablated.probability },
  dp: { head: 'Δ p, pp', value: (row) => row.ablated.probability - row.baseline.probability },
  dlogp: { head: 'Δ log p', value: logChange },
  rank: { head: 'Rank', value: (row) => row.ablated.rank },
  centred: { head: 'Δ logit, centred', value: (row) => row.centred ?? 0 },
  interaction: { head: 'A×B', value: (row) => row.interaction ?? 0 },
}
const TITLES: Partial<Record<ShiftSort, string>> = {
  dp: 'After minus before, percentage points',
  dlogp: 'Change of the natural logarithm of the probability, nats',
  centred: 'Change of the logit less the mean logit of the whole vocabulary',
  interaction: 'Δ logit of A + B, minus those of A and of B alone',
}
const ORDER: ShiftSort[] = ['token', 'before', 'after', 'dp', 'dlogp', 'interaction', 'rank', 'centred']
const columns = ORDER.map((id) => ({ id, accessorFn: VALUES[id].value, sortFn: compare }))

function compare(
  a: { getValue: (id: string) => unknown },
  b: { getValue: (id: string) => unknown },
  id: string,
): number {
  const [x, y] = [a.getValue(id), b.getValue(id)]
  if (typeof x === 'string' && typeof y === 'string') return x.localeCompare(y)
  return Number(x) - Number(y)
}

export function ShiftTable(props: {
  name: string
  rows: TableRow[]
  interaction: boolean
  sort: ShiftSort | undefined
  dir: 'asc' | 'desc' | undefined
  onSort: (sort: ShiftSort | undefined, dir: 'asc' | 'desc' | undefined) => void
}) {
  const { rows, sort = 'before', dir = defaultDirection(sort) } = props
  const sorting = useMemo<SortingState>(() => [{ id: sort, desc: dir === 'desc' }], [sort, dir])
  const table = useTable({
    features,
    columns,
    data: rows,
    state: { sorting },
    getRowId: (row) => String(row.token_id),
  })
  const max = Math.max(
    0.01,
    ...rows.map((row) => Math.max(row.baseline.probability, row.ablated.probability)),
  )
  const choose = (id: ShiftSort) => {
    const next = id === sort ? (dir === 'desc' ? 'asc' : 'desc') : defaultDirection(id)
    props.onSort(id === 'before' ? undefined : id, next === defaultDirection(id) ? undefined : next)
  }
  return (
    <TableScroll label={`Output shift table, ${props.name}`}>
      <table className="numbers shift-table" aria-label={`Tokens of ${props.name}, before and after`}>
        <thead>
          <tr>
            {ORDER.filter((id) => id !== 'interaction' || props.interaction).map((id) => (
              <SortHead
                key={id}
                sorted={id === sort ? dir : undefined}
                onSort={() => choose(id)}
                colSpan={id === 'token' && !props.interaction ? 2 : 1}
                className={id === 'token' ? 'left' : undefined}
                title={TITLES[id]}
              >
                {VALUES[id].head}
              </SortHead>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.getRowModel().rows.map(({ original: row, id }) => {
            const dp = row.ablated.probability - row.baseline.probability
            const moved = Math.abs(dp) > Math.max(row.baseline.probability, 1e-4) * 0.1
            return (
              <tr key={id}>
                <th scope="row" className="left">
                  <Piece text={row.token} />
                  {row.watched && (
                    <span className="watched-mark" title="watched">
                      <Icon name="eye" />
                      <span className="hidden-visually">watched</span>
                    </span>
                  )}
                </th>
                {!props.interaction && (
                  <td className="bars">
                    <PairBars before={row.baseline.probability} after={row.ablated.probability} max={max} />
                  </td>
                )}
                <td>{probability(row.baseline.probability)}</td>
                <td className="strong">{probability(row.ablated.probability)}</td>
                <td className={moved ? (dp < 0 ? 'down' : 'up') : 'faint'}>{probabilityChange(dp)}</td>
                <td>{signed(logChange(row), 2)}</td>
                {props.interaction && <td>{row.interaction === null ? '–' : signed(row.interaction, 2)}</td>}
                <td>
                  {rank(row.baseline.rank) === rank(row.ablated.rank) ? (
                    <span className="faint">{rank(row.baseline.rank)}</span>
                  ) : (
                    <>
                      {rank(row.baseline.rank)}→<span className="strong">{rank(row.ablated.rank)}</span>
                    </>
                  )}
                </td>
                <td>{row.centred === null ? '–' : signed(row.centred, 2)}</td>
              </tr>
            )
          })}
        </tbody>
      </table>
    </TableScroll>
  )
}

function defaultDirection(sort: ShiftSort): 'asc' | 'desc' {
  return sort === 'token' || sort === 'rank' || sort === 'dp' || sort === 'dlogp' || sort === 'centred'
    ? 'asc'
    : 'desc'
}
