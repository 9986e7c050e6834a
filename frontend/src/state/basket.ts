/** The baskets: components and named groups, each with a strength and, optionally, positions. */
import type { Group, Suppression } from '@/api/types'

export interface BasketEntry {
  kind: 'component' | 'group'
  /** A component's key, or a group's name. */
  name: string
  /** 1 removes, 0 leaves, below 0 amplifies, above 1 reverses. */
  strength: number
  /** Positions it is suppressed at; null means all. */
  positions: number[] | null
  /** The first position it acts at; only with `positions: null`. */
  start?: number | null
}

const KEY = /^[A-Za-z0-9_.]+:\d{1,7}$/
const GROUP = '~'

export const MAX_ENTRIES = 512
export const [LEAST_STRENGTH, MOST_STRENGTH] = [-2, 3]

const isStrength = (value: number) => value >= LEAST_STRENGTH && value <= MOST_STRENGTH

/** The strength further from 0; of two as far, the larger. */
export const stronger = (one: number, other: number): number =>
  Math.abs(one) === Math.abs(other) ? Math.max(one, other) : Math.abs(one) > Math.abs(other) ? one : other

/** What a strength does to a component that is suppressed, or kept alone. */
export function strengthWord(strength: number, keeps: boolean): string {
  const factor = Number((keeps ? strength : 1 - strength).toFixed(3))
  if (factor === 0) return 'removed'
  if (factor === 1) return 'as it is'
  if (factor < 0) return `reversed × ${-factor}`
  return factor > 1 ? `amplified × ${factor}` : `× ${factor}`
}

/** The strength in a text, or null if it is not one: a number from −2 to 3, or `50 %`. */
export function readStrength(text: string): number | null {
  const match = /^\s*([-−]?(?:\d*[.,]?\d+|\d+[.,]))\s*(%?)\s*$/.exec(text)
  if (!match) return null
  const value = Number(match[1]?.replace(',', '.').replace('−', '-')) / (match[2] ? 100 : 1)
  return isStrength(value) ? Number(value.toFixed(3)) : null
}

/** `~Woods`, `model.layers.0.mlp.down_proj:3`, followed, where they differ from the default, by `;0.5` for the strength and `@2,3`
 * for positions, or `@4-` for those from 4 onwards. */
export function encodeEntry(entry: BasketEntry): string {
  const name =
    entry.kind === 'group' ? `${GROUP}${entry.name.replace(/[%;@]/g, encodeURIComponent)}` : entry.name
  const strength = entry.strength === 1 ? '' : `;${Number(entry.strength.toFixed(3))}`
  const from = entry.start ? `@${entry.start}-` : ''
  const positions = entry.positions === null ? from : `@${entry.positions.join(',')}`
  return name + strength + positions
}

export function decodeEntry(code: string): BasketEntry | null {
  const match = /^([^;@]+)(?:;([^@]*))?(?:@(.*))?$/.exec(code)
  if (!match) return null
  const [, head = '', strengthText, positionText] = match
  const strength = strengthText === undefined ? 1 : Number(strengthText || Number.NaN)
  if (!isStrength(strength)) return null
  let positions: number[] | null = null
  let start: number | null = null
  const from = /^(\d{1,5})-$/.exec(positionText ?? '')
  if (from) start = Number(from[1])
  else if (positionText !== undefined) {
    if (!/^\d{1,5}(,\d{1,5})*$/.test(positionText)) return null
    positions = positionText.split(',').map(Number)
  }
  if (head.startsWith(GROUP)) {
    try {
      const name = decodeURIComponent(head.slice(1))
      return name === '' ? null : { kind: 'group', name, strength, positions, ...(start ? { start } : {}) }
    } catch {
      return null
    }
  }
  if (!KEY.test(head)) return null
  return { kind: 'component', name: head, strength, positions, ...(start ? { start } : {}) }
}

/** The remainder in the address: left out where it is the default of the mode. */
export function remainderParam(
  mode: 'suppress' | 'keep_only' | undefined,
  remainder: 'on' | 'off' | null | undefined,
): 'on' | 'off' | undefined {
  const byDefault = mode === 'keep_only' ? 'off' : 'on'
  return remainder && remainder !== byDefault ? remainder : undefined
}

export const sameThing = (a: BasketEntry, b: Pick<BasketEntry, 'kind' | 'name'>) =>
  a.kind === b.kind && a.name === b.name

export function toggleEntry(basket: BasketEntry[], what: Pick<BasketEntry, 'kind' | 'name'>): BasketEntry[] {
  if (basket.some((entry) => sameThing(entry, what))) return basket.filter((entry) => !sameThing(entry, what))
  return [...basket, { ...what, strength: 1, positions: null }]
}

export interface Expansion {
  components: Suppression[]
  /** Groups the decomposition does not have: reported, not dropped silently. */
  unknown: string[]
}

/**
 * The suppressions of a basket on a prompt of `length` tokens. A component's own entry takes precedence over its
 * groups'; of two groups the stronger applies. Entries whose positions are all past the prompt's end do nothing.
 */
export function expandBasket(basket: BasketEntry[], groups: Map<string, Group>, length: number): Expansion {
  const unknown: string[] = []
  const merged = new Map<string, Suppression>()
  const put = (keys: string[], entry: BasketEntry, overrides: boolean) => {
    const positions = entry.positions?.filter((position) => position < length) ?? null
    const start = entry.start ?? null
    if (positions?.length === 0 || (start !== null && start >= length)) return
    for (const key of keys) {
      const old = merged.get(key)
      if (overrides || !old || stronger(entry.strength, old.strength) !== old.strength) {
        merged.set(key, {
          key,
          strength: entry.strength,
          positions,
          ...(positions === null && start !== null ? { start } : {}),
        })
      }
    }
  }
  for (const entry of basket.filter((one) => one.kind === 'group')) {
    const group = groups.get(entry.name)
    if (group) put(group.components, entry, false)
    else unknown.push(entry.name)
  }
  for (const entry of basket.filter((one) => one.kind === 'component')) put([entry.name], entry, true)
  return { components: [...merged.values()].sort((a, b) => (a.key < b.key ? -1 : 1)), unknown }
}

/**
 * A and B together, as the server joins them: what is in either; where both hold a component at a position, the
 * stronger applies there, so that a component may be listed once per strength.
 */
export function joinSuppressions(a: Suppression[], b: Suppression[], length: number): Suppression[] {
  const inB = new Map(b.map((one) => [one.key, one]))
  const shared = new Set(a.filter((one) => inB.has(one.key)).map((one) => one.key))
  const joined = [...a, ...b].filter((one) => !shared.has(one.key))
  for (const one of a.filter((entry) => shared.has(entry.key)))
    joined.push(...atEachPlace(one, inB.get(one.key) as Suppression, length))
  return joined.sort((x, y) => (x.key < y.key ? -1 : x.key > y.key ? 1 : 0))
}

const everywhere = (one: Suppression) => !one.positions && !one.start

function atEachPlace(a: Suppression, b: Suppression, length: number): Suppression[] {
  const places = new Map<number, number[]>()
  const at = (one: Suppression, position: number) =>
    (one.positions ? one.positions.includes(position) : position >= (one.start ?? 0)) ? one.strength : 0
  for (let position = 0; position < length; position += 1) {
    const strength = stronger(at(a, position), at(b, position))
    places.set(strength, [...(places.get(strength) ?? []), position])
  }
  const [only] = places.keys()
  if (places.size === 1 && only !== undefined && (everywhere(a) || everywhere(b)))
    return [{ key: a.key, strength: only, positions: null }]
  return [...places]
    .filter(([strength]) => strength !== 0)
    .map(([strength, positions]) => ({ key: a.key, strength, positions }))
}

/** The components of a basket, with groups expanded. */
export function basketKeys(basket: BasketEntry[], groups: Map<string, Group>): Set<string> {
  return new Set(
    basket.flatMap((entry) =>
      entry.kind === 'component' ? [entry.name] : (groups.get(entry.name)?.components ?? []),
    ),
  )
}

/** A basket for recorded suppressions: groups that are included whole at full strength by name, the rest as single components. */
export function packBasket(components: Suppression[], names: string[], groups: Group[]): BasketEntry[] {
  const plain = new Set(
    components.filter((c) => c.strength === 1 && !c.positions && !c.start).map((c) => c.key),
  )
  const whole = groups.filter(
    (group) => names.includes(group.name) && group.components.every((key) => plain.has(key)),
  )
  const covered = new Set(whole.flatMap((group) => group.components))
  return [
    ...whole.map((group): BasketEntry => ({ kind: 'group', name: group.name, strength: 1, positions: null })),
    ...components
      .filter((c) => !covered.has(c.key))
      .map(
        (c): BasketEntry => ({
          kind: 'component',
          name: c.key,
          strength: c.strength,
          positions: c.positions ?? null,
          ...(c.start ? { start: c.start } : {}),
        }),
      ),
  ]
}
