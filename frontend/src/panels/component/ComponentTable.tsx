/** All components: the server sorts, filters and pages; the browser draws only the rows in view. */

import { useQueries } from '@tanstack/react-query'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { useVirtualizer } from '@tanstack/react-virtual'
import { at } from '@/api/root'
import './component.css'
import { memo, useCallback, useEffect, useRef, useState } from 'react'
import { COMPONENTS_PER_PAGE, type ComponentFilter, queries } from '@/api/queries'
import type { ComponentRow, ComponentSort, Decomposition } from '@/api/types'
import { count, figure, nats, predicts, probability, shortKey, visible } from '@/api/words'
import { useDebounced, useSlow } from '@/state/hooks'
import { type ComponentsSearch, componentFilter, defaultOrder, listOf } from '@/state/lists'
import { forgetProblems, useProblems } from '@/state/problems'
import { useShortcuts } from '@/state/shortcuts'
import { Seg } from '@/ui/controls'
import { ExportMenu } from '@/ui/Export'
import { SortHead } from '@/ui/SortHead'
import { AddressProblems, Empty, ErrorNotice, Recomputing } from '@/ui/surfaces'

const HEADS: { sort: ComponentSort | null; head: string; right?: boolean }[] = [
  { sort: 'key', head: 'Component' },
  { sort: 'label', head: 'Label' },
  { sort: 'label_f1', head: 'Label F1', right: true },
  { sort: null, head: 'Strongest tokens' },
  { sort: 'effect', head: 'Effect, nats', right: true },
  { sort: 'max_ci', head: 'Max CI', right: true },
  { sort: 'mean_ci', head: 'Mean CI', right: true },
  { sort: 'density', head: 'Density', right: true },
  { sort: null, head: '‖V‖·‖U‖', right: true },
]
const ROW = 37

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
  // biome-ignore lint/correctness/useExhaustiveDependencies: only a pause in typing changes the address
  useEffect(() => {
    if (settled === text && settled !== (search.q ?? ''))
      set({ q: settled === '' ? undefined : settled }, true)
  }, [settled])
  useEffect(() => setText(search.q ?? ''), [search.q])

  const filter = componentFilter(search)
  const { sort, order } = filter
  const box = useRef<HTMLDivElement>(null)
  const [pages, setPages] = useState<number[]>([0])
  const results = useQueries({ queries: pages.map((page) => queries.components(id, filter, page)) })
  const loaded = new Map(pages.map((page, i) => [page, results[i]?.data?.items]))
  const lastTotal = useRef(0)
  const answered = results.find((one) => one.data)
  if (answered?.data) lastTotal.current = answered.data.total
  const total = lastTotal.current
  const slow = useSlow(!answered)
  const error = results.find((one) => one.error)?.error
  const retry = () => results.filter((one) => one.error).map((one) => one.refetch())
  const rowAt = (index: number): ComponentRow | undefined =>
    loaded.get(Math.floor(index / COMPONENTS_PER_PAGE))?.[index % COMPONENTS_PER_PAGE]

  const virtual = useVirtualizer({
    count: total,
    getScrollElement: () => box.current,
    estimateSize: () => ROW,
    overscan: 10,
  })
  const items = virtual.getVirtualItems()
  const first = Math.floor((items[0]?.index ?? 0) / COMPONENTS_PER_PAGE)
  const last = Math.floor(((items.at(-1)?.index ?? 0) + 30) / COMPONENTS_PER_PAGE)
  // Pages that are scrolled past quickly are not requested.
  const wanted = useDebounced(`${first}-${last}`, 60)
  useEffect(() => {
    const [from = 0, to = 0] = wanted.split('-').map(Number)
    setPages(Array.from({ length: to - from + 1 }, (_, i) => from + i))
  }, [wanted])
  // A new list starts at the top.
  const list = JSON.stringify(filter)
  // biome-ignore lint/correctness/useExhaustiveDependencies: only a new list does this
  useEffect(() => {
    box.current?.scrollTo({ top: 0 })
    setAt(-1)
  }, [list])

  const [at, setAt] = useState(-1)
  const move = (by: number) => {
    const next = Math.min(Math.max(at + by, 0), total - 1)
    setAt(next)
    virtual.scrollToIndex(next)
  }
  const opened = useRef(listOf(search))
  opened.current = listOf(search)
  const open = useCallback(
    (key: string) => void navigate({ to: '/d/$id/c/$key', params: { id, key }, search: opened.current }),
    [navigate, id],
  )
  useShortcuts({
    j: () => move(1),
    k: () => move(-1),
    Enter: () => {
      const row = rowAt(at)
      if (!row) return false
      open(row.key)
    },
  })
  const choose = (next: ComponentSort) => {
    const turned = next === sort ? (order === 'asc' ? 'desc' : 'asc') : defaultOrder(next)
    set({ sort: next, order: turned === defaultOrder(next) ? undefined : turned })
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
          {answered ? `${count(total)} results` : ''}
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
      <ErrorNotice error={error} onRetry={retry} />
      <section className={`vtable ${slow ? 'stale' : ''}`} ref={box} aria-label="Component rows">
        <table aria-label="Components" aria-rowcount={total + 1}>
          <thead>
            <tr>
              {HEADS.map(({ head, sort: by, right }) =>
                by ? (
                  <SortHead
                    key={head}
                    sorted={by === sort ? order : undefined}
                    onSort={() => choose(by)}
                    className={right ? 'right' : undefined}
                  >
                    {head}
                  </SortHead>
                ) : (
                  <th key={head} scope="col" className={right ? 'right' : undefined}>
                    {head}
                  </th>
                ),
              )}
            </tr>
          </thead>
          <tbody>
            <Spacer height={items[0]?.start ?? 0} />
            {items.map((item) => {
              const row = rowAt(item.index)
              return row ? (
                <Row
                  key={item.index}
                  id={id}
                  row={row}
                  index={item.index}
                  current={item.index === at}
                  onOpen={open}
                />
              ) : (
                <tr key={item.index} aria-rowindex={item.index + 2} className="waiting">
                  <th scope="row">…</th>
                  <td colSpan={HEADS.length - 1} />
                </tr>
              )
            })}
            <Spacer height={virtual.getTotalSize() - (items.at(-1)?.end ?? 0)} />
          </tbody>
        </table>
      </section>
      {answered && total === 0 && (
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
function componentsFile(id: string, kind: 'csv' | 'json', filter: ComponentFilter): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(filter)) if (value !== undefined) query.set(name, String(value))
  return at(`/api/decompositions/${encodeURIComponent(id)}/components.${kind}?${query}`)
}

/** Fills the height of the rows above or below the view. */
function Spacer({ height }: { height: number }) {
  return height > 0 ? <tr style={{ height }} /> : null
}

/** A plain anchor: each router link subscribes to the address, which is slow while hundreds of rows scroll past. */
const Row = memo(function Row(props: {
  id: string
  row: ComponentRow
  index: number
  current: boolean
  onOpen: (key: string) => void
}) {
  const { id, row, index, current } = props
  return (
    <tr
      aria-rowindex={index + 2}
      aria-current={current || undefined}
      className={row.alive ? undefined : 'dead'}
    >
      <th scope="row">
        <a
          href={at(`/d/${encodeURIComponent(id)}/c/${encodeURIComponent(row.key)}`)}
          className="mono"
          title={row.key}
          onClick={(event) => {
            if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return
            event.preventDefault()
            props.onOpen(row.key)
          }}
        >
          {shortKey(row.key)}
        </a>
      </th>
      <td title={row.label} className={predicts(row.label_f1) ? undefined : 'unsure'}>
        {row.label}
      </td>
      <td className="right num">{typeof row.label_f1 === 'number' ? row.label_f1.toFixed(2) : '–'}</td>
      <td className="mono small soft">{row.top_tokens.slice(0, 5).map(visible).join('  ')}</td>
      <td className="right num">{typeof row.effect === 'number' ? nats(row.effect) : '–'}</td>
      <td className="right num">{row.max_ci.toFixed(3)}</td>
      <td className="right num">{row.mean_ci.toFixed(3)}</td>
      <td className="right num">{probability(row.density)}</td>
      <td className="right num">{figure(row.write_norm)}</td>
    </tr>
  )
})
