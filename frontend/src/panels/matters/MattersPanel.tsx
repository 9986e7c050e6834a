/** What matters: groups and components at the selection, the largest effect on the token first, with buttons for the baskets. */
import { useQuery } from '@tanstack/react-query'
import { memo, useEffect, useMemo, useRef, useState } from 'react'
import { experiments } from '@/api/experiments'
import type { ExactEffect } from '@/api/types'
import { layerOf, plural, shortSite, visible } from '@/api/words'
import { basketKeys, sameThing, toggleEntry } from '@/state/basket'
import { useDebounced } from '@/state/hooks'
import { sitesOfRow } from '@/state/importances'
import { type Matter, mattersAt, sizeOf } from '@/state/matters'
import { useShortcuts } from '@/state/shortcuts'
import { importanceParts, unchanged } from '@/state/unchanged'
import type { Workbench } from '@/state/useWorkbench'
import { Button, Seg } from '@/ui/controls'
import { Hint } from '@/ui/Hint'
import { Icon } from '@/ui/Icon'
import { ErrorNotice, Panel, Recomputing } from '@/ui/surfaces'
import { EffectToken } from './EffectToken'
import { MatterRow } from './MatterRow'
import './matters.css'

const FIRST = 60
const GROUPS = 4
/** How many of the largest first-order effects are measured by an ablation of their own. */
const EXACT = { exact: 24, exact_groups: 8 }
const NOTHING: ExactEffect[] = []

export const MattersPanel = memo(Matters, unchanged(partsOf))

function partsOf(bench: Workbench): unknown[] {
  const { id, search, active, threshold, groups, groupsByName, labels, baskets, ready } = bench
  const { a, b } = baskets
  const place = [id, active, search.row, search.col, search.rank, search.et, threshold, ready]
  return [...place, groups, groupsByName, labels, a, b, bench.offers.length, ...importanceParts(bench)]
}

function Matters({ bench }: { bench: Workbench }) {
  const { search, threshold, groups, baskets } = bench
  const prompt = bench.prompts[bench.active]
  const index = prompt?.index ?? null
  const effects = prompt?.effectIndex ?? null
  const ranking = (bench.ready || effects) && search.rank !== 'ci' ? 'effect' : 'ci'
  const tokens = prompt?.importances.data?.tokens ?? []
  const column = search.col !== undefined && search.col < tokens.length ? search.col : null
  const sites = useMemo(
    () => (index && search.row ? sitesOfRow(index.sites, search.row) : null),
    [index, search.row],
  )
  const [all, setAll] = useState(false)
  const [at, setAt] = useState(-1)

  const wanted = useMemo(
    () => ({ ...prompt?.effectBody, ...EXACT, at: column === null ? null : [column], sites }),
    [prompt?.effectBody, column, sites],
  )
  const body = useDebounced(wanted, 200)
  const exact = useQuery({
    ...experiments.attribution(bench.id, body),
    enabled: ranking === 'effect' && !!effects && !prompt?.effects.stale && !!prompt?.trust.data,
  })
  const measured = body === wanted ? (exact.data?.exact ?? NOTHING) : NOTHING
  const matters = useMemo(
    () =>
      index
        ? mattersAt(index, effects, measured, groups, { sites, column, threshold }, ranking)
        : { groups: [], components: [] },
    [index, effects, measured, groups, sites, column, threshold, ranking],
  )
  const shownGroups = all ? matters.groups : matters.groups.slice(0, GROUPS)
  const shown = [...shownGroups, ...(all ? matters.components : matters.components.slice(0, FIRST))]
  const more = matters.groups.length + matters.components.length - shown.length
  const top = Math.max(0, ...shown.map((one) => Math.max(0, ...one.effects.map(Math.abs))))
  const inBasket = {
    a: basketKeys(baskets.a, bench.groupsByName),
    b: basketKeys(baskets.b, bench.groupsByName),
  }

  const toggle = (which: 'a' | 'b', item: Matter) => bench.setBasket(which, toggleEntry(baskets[which], item))
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
          {index ? plural(matters.components.length, 'component') : ''}
          <Hint about="what matters">
            <p>
              Each weight matrix is a sum of rank-1 pieces. A piece reads one direction of its input (V) and
              writes one direction of its output (U): a subcomponent. A group holds the important ones that
              fire most on one token.
            </p>
            <p>
              Δ log p is what suppressing it adds to the log-probability of the token, in nats: below 0, it
              speaks for the token. ≈ is to first order, from one gradient; a number without it was measured
              by suppressing just that{column === null ? '' : ' at this position'}. x·V is the inner
              activation.
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
      <div className="matters-tools">
        <Seg
          label="Ranked by"
          value={ranking}
          options={[
            { value: 'effect', label: 'effect', disabled: !bench.ready && !effects },
            { value: 'ci', label: 'CI' },
          ]}
          onChange={(rank) => bench.set({ rank }, { replace: true })}
        />
        {ranking === 'effect' && prompt && <EffectToken bench={bench} prompt={prompt} />}
        <span className="grow" />
        <Recomputing on={exact.isFetching || !!prompt?.effects.pending} what="measuring" />
      </div>
      <ErrorNotice error={ranking === 'effect' && prompt?.effects.error} onRetry={prompt?.effects.retry} />
      <div className="matters-head" aria-hidden="true">
        <span>component</span>
        <span>Δ log p</span>
        <span>CI</span>
        <span>tokens</span>
        <span>basket</span>
      </div>
      <ul className="matters-list" ref={list} aria-label="Components at the selection">
        {shown.map((item, i) => (
          <MatterRow
            key={`${item.kind} ${item.name}`}
            id={bench.id}
            at={i}
            item={item}
            current={i === at}
            label={bench.labels?.get(item.name)?.label ?? ''}
            ranking={ranking}
            top={top}
            tokens={tokens.map((token) => token.piece)}
            column={column}
            own={(which) => baskets[which].some((entry) => sameThing(entry, item))}
            within={(which) => item.kind === 'component' && inBasket[which].has(item.name)}
            onToggle={(which) => toggle(which, item)}
          />
        ))}
      </ul>
      {!index && (
        <p className="pad soft">
          {prompt?.importances.error
            ? 'There are no importances for this prompt; see the message in the grid.'
            : 'Importances are loading.'}
        </p>
      )}
      {index && shown.length === 0 && (
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
      {more > 0 && (
        <div className="matters-more">
          <Button size="small" onClick={() => setAll(true)}>
            <Icon name="down" /> {more} more
          </Button>
          {ranking === 'effect' && (
            <span className="faint small">
              {matters.groups.length > shownGroups.length &&
                `${plural(matters.groups.length - shownGroups.length, 'group')} up to ${smallest(matters.groups[shownGroups.length])}`}
            </span>
          )}
        </div>
      )}
    </Panel>
  )
}

const smallest = (matter: Matter | undefined) => (matter ? `${sizeOf(matter).toPrecision(2)} nats` : '')
