import type { ReactNode } from 'react'

/** The head of a column that can be sorted by: a button that says, to eyes and to a screen reader, which way it is. */
export function SortHead(props: {
  /** Which way the table is sorted by this column; undefined: it is sorted by another. */
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
