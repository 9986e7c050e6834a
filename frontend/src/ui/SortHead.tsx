import type { ReactNode } from 'react'

/** The head of a sortable column: a button that shows the current order, also to screen readers. */
export function SortHead(props: {
  /** The order by this column; undefined if the table is sorted by another. */
  sorted?: 'asc' | 'desc'
  onSort: () => void
  className?: string
  colSpan?: number
  title?: string
  children: ReactNode
}) {
  const { sorted } = props
  return (
    <th
      scope="col"
      className={props.className}
      colSpan={props.colSpan}
      aria-sort={sorted && (sorted === 'asc' ? 'ascending' : 'descending')}
    >
      <button type="button" title={props.title} onClick={props.onSort}>
        {props.children}
        {sorted && <span aria-hidden="true">{sorted === 'asc' ? ' ↑' : ' ↓'}</span>}
      </button>
    </th>
  )
}
