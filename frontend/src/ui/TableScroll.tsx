import type { ReactNode } from 'react'

/** A table that may be wider than the screen; it scrolls on its own, by keyboard too. */
export function TableScroll({
  label,
  tall,
  children,
}: {
  label: string
  tall?: boolean
  children: ReactNode
}) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
    <section className={`table-scroll ${tall ? 'tall' : ''}`} aria-label={`${label}, table`} tabIndex={0}>
      {children}
    </section>
  )
}
