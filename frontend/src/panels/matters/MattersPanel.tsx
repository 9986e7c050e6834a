/** Important components: groups and components at the selection, the largest CI first, with buttons for the baskets. */
import { Link } from '@tanstack/react-router'
import { memo, useEffect, useMemo, useRef, useState } from 'react'
import type { Group } from '@/api/types'
import { layerOf, plural, shortKey, shortSite, signed, unit, visible } from '@/api/words'
import { Strip } from '@/charts/Strip'
import { basketKeys, sameThing, toggleEntry } from '@/state/basket'
import { groupTrace, type Match, matchSelection, sitesOfRow } from '@/state/importances'
import { useShortcuts } from '@/state/shortcuts'
import { importanceParts, unchanged } from '@/state/unchanged'
import type { Workbench } from '@/state/useWorkbench'
import { BasketButtons } from '@/ui/BasketButtons'
import { Button } from '@/ui/controls'
import { Hint } from '@/ui/Hint'
import { Icon } from '@/ui/Icon'
import { Panel } from '@/ui/surfaces'
import './matters.css'

const FIRST = 60

type Item =
  | { kind: 'group'; name: string; group: Group; ci: number; values: Float32Array }
  | { kind: 'component'; name: string; match: Match; ci: number; values: Float32Array }

export const MattersPanel = memo(Matters, unchanged(partsOf))

function partsOf(bench: Workbench): unknown[] {
  const { id, search, active, threshold, groups, groupsByName, labels, baskets } = bench
  const { a, b } = baskets
  const place = [id, active, search.row, search.col, threshold]
  return [...place, groups, groupsByName, labels, a, b, ...importanceParts(bench)]
}

function Matters({ bench }: { bench: Workbench }) {
  const { search, threshold, groups, labels, baskets } = bench
  const prompt = bench.prompts[bench.active]
  const index = prompt?.index ?? null
  const tokens = prompt?.importances.data?.tokens ?? []
  const column = search.col !== undefined && search.col < tokens.length ? search.col : null
  const sites = useMemo(
    () => (index && search.row ? sitesOfRow(index.sites, search.row) : null),
    [index, search.row],
  )
  const [all, setAll] = useState(false)
  const [at, setAt] = useState(-1)

  const matches = useMemo(
    () => (index ? matchSelection(index, sites, column, threshold) : []),
    [index, sites, column, threshold],
  )
  const items = useMemo<Item[]>(() => {
    if (!index) return []
    const present = new Set(matches.map((match) => match.trace.key))
    const named = groups
      .filter((group) => group.components.some((key) => present.has(key)))
      .map((group): Item => {
        const values = groupTrace(index, group)
        return {
          kind: 'group',
          name: group.name,
          group,
          values,
          ci: column === null ? Math.max(...values) : (values[column] ?? 0),
        }
      })
      .filter((item) => item.ci >= threshold)
      .sort((a, b) => b.ci - a.ci)
    return [
      ...named,
      ...matches.map(
        (match): Item => ({
          kind: 'component',
          name: match.trace.key,
          match,
          ci: match.ci,
          values: match.trace.ci,
        }),
      ),
    ]
  }, [index, matches, groups, column, threshold])
  const groupCount = items.length - matches.length
  const shown = all ? items : items.slice(0, groupCount + FIRST)
  const inBasket = {
    a: basketKeys(baskets.a, bench.groupsByName),
    b: basketKeys(baskets.b, bench.groupsByName),
  }

  const toggle = (which: 'a' | 'b', item: Item) => bench.setBasket(which, toggleEntry(baskets[which], item))
  const move = (by: number) => setAt((old) => Math.min(Math.max(old + by, 0), shown.length - 1))
  const current = shown[at]
  useShortcuts({
    j: () => move(1),
    k: () => move(-1),
    a: () => current && toggle('a', current),
    b: () => current && toggle('b', current),
    Escape: () => bench.set({ row: undefined, col: undefined }),
  })
  const selection = `${bench.active}.${search.row}.${search.col}`
  // biome-ignore lint/correctness/useExhaustiveDependencies: another selection starts at the top
  useEffect(() => {
    setAt(-1)
    setAll(false)
  }, [selection])
  const list = useRef<HTMLUListElement>(null)
  useEffect(() => {
    if (at >= 0) list.current?.querySelector(`[data-at="${at}"]`)?.scrollIntoView({ block: 'nearest' })
  }, [at])

  const where = [
    column !== null && visible(tokens[column]?.piece ?? ''),
    search.row && (layerOf(search.row) === null ? search.row : shortSite(search.row)),
  ]
  const place = where.filter(Boolean).join(', ')
  const selected = search.row !== undefined || column !== null
  return (
    <Panel
      className="matters"
      title={place ? `Components at ${place}` : `Components in prompt ${bench.active + 1}`}
      aside={
        <>
          {index ? plural(matches.length, 'component') : ''}
          <Hint about="a subcomponent">
            <p>
              Each weight matrix is a sum of rank-1 pieces. A piece reads one direction of its input (V) and
              writes one direction of its output (U): a subcomponent.
            </p>
            <p>
              x·V is its inner activation here. A group holds the important components that fire most on one
              token.
            </p>
          </Hint>
        </>
      }
      tools={
        selected && (
          <Button kind="quiet" size="small" onClick={() => bench.set({ row: undefined, col: undefined })}>
            Clear
          </Button>
        )
      }
    >
      <div className="matters-head" aria-hidden="true">
        <span>component</span>
        <span>
          CI<small>x·V</small>
        </span>
        <span>by token</span>
        <span>basket</span>
      </div>
      <ul className="matters-list" ref={list} aria-label="Components at the selection">
        {shown.map((item, i) => (
          <li
            key={`${item.kind} ${item.name}`}
            data-at={i}
            className={`matter ${item.kind} ${i === at ? 'current' : ''}`}
            aria-current={i === at || undefined}
          >
            <span className="matter-name">
              {item.kind === 'group' ? (
                <>
                  <b>{visible(item.group.token)}</b>
                  <small title={item.group.why}>
                    group of {plural(item.group.components.length, 'component')}
                  </small>
                </>
              ) : (
                <>
                  <Link to="/d/$id/c/$key" params={{ id: bench.id, key: item.name }}>
                    {shortKey(item.name)}
                  </Link>
                  <small>{labels?.get(item.name)?.label ?? ''}</small>
                </>
              )}
            </span>
            <span className="num">
              {unit(item.ci)}
              {item.kind === 'component' && (
                <small className="act">
                  {signed(item.match.trace.activation[item.match.position] ?? 0, 1)}
                </small>
              )}
            </span>
            <Strip
              values={item.values}
              tokens={tokens.map((token) => token.piece)}
              mark={column}
              label={`CI of ${item.name}`}
            />
            <BasketButtons
              what={item.kind === 'group' ? `group ${item.name}` : shortKey(item.name)}
              own={(which) => baskets[which].some((entry) => sameThing(entry, item))}
              within={(which) => item.kind === 'component' && inBasket[which].has(item.name)}
              onToggle={(which) => toggle(which, item)}
            />
          </li>
        ))}
      </ul>
      {!index && (
        <p className="pad soft">
          {prompt?.importances.error
            ? 'There are no importances for this prompt; see the message in the grid.'
            : 'Importances are loading.'}
        </p>
      )}
      {index && items.length === 0 && (
        <p className="pad soft">
          No component reaches a CI of {threshold} here. Select another cell, or{' '}
          <button
            type="button"
            className="link-btn"
            onClick={() => bench.set({ t: 0.01 }, { replace: true })}
          >
            lower the threshold
          </button>
          .
        </p>
      )}
      {shown.length < items.length && (
        <div className="pad">
          <Button size="small" onClick={() => setAll(true)}>
            <Icon name="down" /> Show all {items.length - groupCount}
          </Button>
        </div>
      )}
    </Panel>
  )
}
