/** All components: the server sorts, filters and pages; the browser draws only the rows in view. */
import { useInfiniteQuery } from '@tanstack/react-query'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { useVirtualizer } from '@tanstack/react-virtual'
import { useEffect, useMemo, useRef, useState } from 'react'
import { queries } from '@/api/queries'
import type { ComponentRow, ComponentSort, Decomposition } from '@/api/types'
import { count, figure, shortKey, visible } from '@/api/words'
import { useDebounced, useSlow } from '@/state/hooks'
import type { ComponentsSearch } from '@/state/lists'
import { forgetProblems, useProblems } from '@/state/problems'
import { useShortcuts } from '@/state/shortcuts'
import { Seg } from '@/ui/controls'
import { ExportMenu } from '@/ui/Export'
import { AddressProblems, Empty, ErrorNotice, Recomputing } from '@/ui/surfaces'

const HEADS: { sort: ComponentSort | null; head: string; right?: boolean }[] = [
  { sort: 'key', head: 'Component' },
  { sort: 'label', head: 'Label' },
  { sort: null, head: 'Strongest tokens' },
  { sort: 'max_ci', head: 'Max CI', right: true },
  { sort: 'mean_ci', head: 'Mean CI', right: true },
  { sort: 'density', head: 'Density', right: true },
  { sort: null, head: '‖V‖·‖U‖', right: true },
]
const usualOrder = (sort: ComponentSort) => (sort === 'key' || sort === 'label' ? 'asc' : 'desc')

export function ComponentTable({ decomposition }: { decomposition: Decomposition }) {
  const { id } = decomposition
  const search = useSearch({ from: '/d/$id/components' })
  const navigate = useNavigate({ from: '/d/$id/components' })
  const set = (patch: Partial<ComponentsSearch>, replace = false) =>
    void navigate({
      search: (old) => ({ ...old, ...patch }),
      replace,
      resetScroll: false,
    })
  const [text, setText] = useState(search.q ?? '')
  const settled = useDebounced(text, 200)
  // biome-ignore lint/correctness/useExhaustiveDependencies: only a rest in typing changes the address
  useEffect(() => {
    if (settled === text && settled !== (search.q ?? ''))
      set({ q: settled === '' ? undefined : settled }, true)
  }, [settled])
  useEffect(() => setText(search.q ?? ''), [search.q])

  const sort = search.sort ?? 'max_ci'
  const order = search.order ?? usualOrder(sort)
  const filter = {
    q: search.q,
    site: search.site,
    sort,
    order,
    alive: search.alive === 'all' ? undefined : search.alive !== 'dead',
  } as const
  const query = useInfiniteQuery(queries.components(id, filter))
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data])
  const total = query.data?.pages[0]?.total ?? 0
  const slow = useSlow(query.isPlaceholderData)

  const box = useRef<HTMLDivElement>(null)
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => box.current,
    estimateSize: () => 37,
    overscan: 12,
  })
  const items = virtual.getVirtualItems()
  const last = items.at(-1)?.index ?? 0
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = query
  useEffect(() => {
    if (last >= rows.length - 30 && hasNextPage && !isFetchingNextPage) void fetchNextPage()
  }, [last, rows.length, hasNextPage, isFetchingNextPage, fetchNextPage])

  const [at, setAt] = useState(-1)
  const move = (by: number) => {
    const next = Math.min(Math.max(at + by, 0), rows.length - 1)
    setAt(next)
    virtual.scrollToIndex(next)
  }
  useShortcuts({
    j: () => move(1),
    k: () => move(-1),
    Enter: () => {
      const row = rows[at]
      if (!row) return false
      void navigate({ to: '/d/$id/c/$key', params: { id, key: row.key } })
    },
  })
  const choose = (next: ComponentSort) => {
    const turned = next === sort ? (order === 'asc' ? 'desc' : 'asc') : usualOrder(next)
    set({ sort: next, order: turned === usualOrder(next) ? undefined : turned })
  }
  return (
    <section className="panel" aria-label="Components">
      <div className="panel-bar">
        <input
          className="input table-search"
          type="search"
          aria-label="Search labels, tokens and keys"
          placeholder="Search labels, tokens, keys"
          data-search
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <select
          className="input table-site"
          aria-label="Site"
          value={search.site ?? ''}
          onChange={(event) => set({ site: event.target.value || undefined })}
        >
          <option value="">all sites</option>
          {decomposition.site_summaries.map((site) => (
            <option key={site.site} value={site.site}>
              {site.short} ({site.alive} alive)
            </option>
          ))}
        </select>
        <Seg
          label="Which components"
          value={search.alive ?? 'alive'}
          options={[
            { value: 'alive', label: 'alive' },
            { value: 'dead', label: 'dead' },
            { value: 'all', label: 'all' },
          ]}
          onChange={(value) => set({ alive: value === 'alive' ? undefined : value })}
        />
        <span className="grow" />
        <Recomputing on={slow} what="searching" />
        <span className="aside" role="status">
          {query.data ? `${count(total)} found` : ''}
        </span>
        <ExportMenu
          of={id}
          name="components"
          title="Components"
          links={(['csv', 'json'] as const).map((kind) => ({
            label: kind.toUpperCase(),
            href: componentsFile(id, kind, filter),
          }))}
        />
      </div>
      <AddressProblems problems={useProblems('components')} onDismiss={() => forgetProblems('components')} />
      <ErrorNotice error={query.error} onRetry={() => query.refetch()} />
      <section className={`vtable ${slow ? 'stale' : ''}`} ref={box} aria-label="Component rows">
        <table aria-label="Components" aria-rowcount={total + 1}>
          <thead>
            <tr>
              {HEADS.map((head) => (
                <th
                  key={head.head}
                  scope="col"
                  className={head.right ? 'right' : undefined}
                  aria-sort={head.sort === sort ? (order === 'asc' ? 'ascending' : 'descending') : undefined}
                >
                  {head.sort ? (
                    <button type="button" onClick={() => head.sort && choose(head.sort)}>
                      {head.head}
                      {head.sort === sort && <span aria-hidden="true">{order === 'asc' ? ' ↑' : ' ↓'}</span>}
                    </button>
                  ) : (
                    head.head
                  )}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            <Spacer height={items[0]?.start ?? 0} />
            {items.map((item) => {
              const row = rows[item.index]
              return (
                row && <Row key={row.key} id={id} row={row} index={item.index} current={item.index === at} />
              )
            })}
            <Spacer height={virtual.getTotalSize() - (items.at(-1)?.end ?? 0)} />
          </tbody>
        </table>
      </section>
      {query.data && rows.length === 0 && (
        <Empty title="Nothing matches">
          <button
            type="button"
            className="link-btn"
            onClick={() => set({ q: undefined, site: undefined, alive: 'all' })}
          >
            Show all components
          </button>
        </Empty>
      )}
    </section>
  )
}

/** The address of the whole list, as it is filtered and sorted, as a file. */
function componentsFile(id: string, kind: 'csv' | 'json', filter: Record<string, unknown>): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(filter)) if (value !== undefined) query.set(name, String(value))
  return `/api/decompositions/${encodeURIComponent(id)}/components.${kind}?${query}`
}

/** Stands for the rows above or below those in view. */
function Spacer({ height }: { height: number }) {
  return height > 0 ? <tr style={{ height }} /> : null
}

function Row({
  id,
  row,
  index,
  current,
}: {
  id: string
  row: ComponentRow
  index: number
  current: boolean
}) {
  return (
    <tr
      aria-rowindex={index + 2}
      aria-current={current || undefined}
      className={row.alive ? undefined : 'dead'}
    >
      <th scope="row">
        <Link to="/d/$id/c/$key" params={{ id, key: row.key }} className="mono" title={row.key}>
          {shortKey(row.key)}
        </Link>
      </th>
      <td>{row.label}</td>
      <td className="mono small soft">{row.top_tokens.slice(0, 5).map(visible).join('  ')}</td>
      <td className="right num">{row.max_ci.toFixed(3)}</td>
      <td className="right num">{row.mean_ci.toFixed(3)}</td>
      <td className="right num">{(row.density * 100).toFixed(1)} %</td>
      <td className="right num">{figure(row.write_norm)}</td>
    </tr>
  )
}
