/** The baskets: which components are suppressed, at what strength, and at which positions. */
import { useState } from 'react'
import { plural, visible } from '@/api/words'
import { remainderParam } from '@/state/basket'
import { useShortcuts } from '@/state/shortcuts'
import type { Workbench } from '@/state/useWorkbench'
import { Button, Seg, Switch } from '@/ui/controls'
import { Hint } from '@/ui/Hint'
import { Notice, Panel } from '@/ui/surfaces'
import { Entry } from './Entry'
import './basket.css'

export function BasketPanel({ bench }: { bench: Workbench }) {
  const { baskets, condition, mode } = bench
  const [which, setWhich] = useState<'a' | 'b'>(baskets.a.length === 0 && baskets.b.length > 0 ? 'b' : 'a')
  const basket = baskets[which]
  const on = condition === which || condition === 'ab'
  const act = () => basket.length > 0 && bench.set({ cond: which })
  useShortcuts({
    s: () => baskets.a.length > 0 && bench.set({ cond: 'a' }),
    r: () => bench.set({ cond: 'none' }),
  })
  const prompt = bench.prompts[bench.active]
  const many = basket.reduce(
    (sum, entry) =>
      sum + (entry.kind === 'group' ? (bench.groupsByName.get(entry.name)?.components.length ?? 0) : 1),
    0,
  )
  const offers = bench.groups.filter(
    (group) => !basket.some((entry) => entry.kind === 'group' && entry.name === group.name),
  )

  return (
    <Panel
      className="basket"
      title={
        <Seg
          label="Basket"
          value={which}
          options={(['a', 'b'] as const).map((one) => ({
            value: one,
            label: `Basket ${one.toUpperCase()}${baskets[one].length > 0 ? ` · ${baskets[one].length}` : ''}`,
          }))}
          onChange={setWhich}
        />
      }
      tools={
        on && basket.length > 0 ? (
          <Button onClick={() => bench.set({ cond: 'none' })}>Restore</Button>
        ) : (
          <Button kind="primary" disabled={basket.length === 0 || !bench.ready} onClick={act}>
            {mode === 'suppress' ? 'Suppress' : 'Keep only these'}
          </Button>
        )
      }
    >
      <div className="basket-body">
        {bench.unknownGroups.map((name) => (
          <Notice key={name} tone="warn">
            This decomposition has no group “{name}”; it does nothing here.
          </Notice>
        ))}
        {basket.length === 0 && offers.length > 0 && (
          <div className="basket-empty">
            <p className="soft small">Empty. Add a group, or components from above.</p>
            <div className="chips">
              {offers.slice(0, 8).map((group) => (
                <Button
                  key={group.name}
                  size="small"
                  title={group.why}
                  onClick={() =>
                    bench.setBasket(which, [
                      ...basket,
                      { kind: 'group', name: group.name, strength: 1, positions: null },
                    ])
                  }
                >
                  <span className="hidden-visually">Put group </span>
                  <span className="mono">{visible(group.token)}</span>
                  <span className="hidden-visually"> into basket {which.toUpperCase()}, </span>
                  <span className="faint">{group.components.length}</span>
                  <span className="hidden-visually"> components</span>
                </Button>
              ))}
              {offers.length > 8 && (
                <span className="faint small">{offers.length - 8} more in the list above</span>
              )}
            </div>
          </div>
        )}
        {basket.length === 0 && offers.length === 0 && (
          <p className="soft small">Empty. Add components from the list above.</p>
        )}
        {basket.length > 0 && (
          <ul className="entries" aria-label={`Basket ${which.toUpperCase()}`}>
            {basket.map((entry) => (
              <Entry
                key={`${entry.kind} ${entry.name}`}
                entry={entry}
                group={entry.kind === 'group' ? bench.groupsByName.get(entry.name) : undefined}
                label={bench.labels?.get(entry.name)?.label}
                tokens={prompt?.tokens ?? []}
                keeps={mode === 'keep_only'}
                onChange={(next) =>
                  bench.setBasket(
                    which,
                    basket.map((old) => (old === entry ? next : old)),
                    { replace: true },
                  )
                }
                onRemove={() =>
                  bench.setBasket(
                    which,
                    basket.filter((old) => old !== entry),
                  )
                }
              />
            ))}
          </ul>
        )}
        <div className="basket-how">
          <Seg
            label="Mode of the basket"
            value={mode}
            options={[
              { value: 'suppress', label: 'suppress' },
              { value: 'keep_only', label: 'keep only' },
            ]}
            onChange={(value) => bench.set({ mode: value, rem: undefined })}
          />
          <Remainder bench={bench} />
        </div>
        <p className="basket-note small" role="status">
          {!bench.ready
            ? 'Live ablation starts once the weights are ready.'
            : basket.length === 0
              ? 'Nothing is suppressed: the numbers are the original model’s.'
              : on
                ? `${plural(many, 'component')} ${mode === 'suppress' ? 'suppressed' : 'kept, all others off'}. Numbers update with every change.`
                : `${plural(many, 'component')} chosen, not applied yet.`}
        </p>
      </div>
    </Panel>
  )
}

/** The switch for the remainder, with what it means in the current mode. */
function Remainder({ bench }: { bench: Workbench }) {
  const { mode, remainder } = bench
  const on = remainder === 'on'
  const meaning =
    mode === 'suppress'
      ? on
        ? 'The original model without the basket.'
        : 'The other components alone, without the remainder.'
      : on
        ? 'The basket and the remainder.'
        : 'The basket alone.'
  return (
    <div className="remainder small">
      <Switch
        label="remainder on"
        name="Remainder: what no component explains"
        checked={on}
        onChange={(next) => bench.set({ rem: remainderParam(mode, next ? 'on' : 'off') })}
      />
      <Hint about="suppression">
        <p>
          Suppressing subtracts strength · V U of a component from the original weights; everything else
          stays. At strength 1 the component is removed, at −1 doubled, at 2 its negative stands in its place.
        </p>
        <p>Now: {meaning}</p>
        <p>
          Keep only runs the basket’s components and nothing else. The remainder is what no component
          explains: by default on with suppress, off with keep only.
        </p>
      </Hint>
    </div>
  )
}
