/** What is to be suppressed: components and named groups, each with a strength and, where wished, positions. */
import type { Group, Suppression } from '@/api/types'

export interface BasketEntry {
  kind: 'component' | 'group'
  /** A component's key, or a group's name. */
  name: string
  /** 1 removes, 0 leaves. */
  strength: number
  /** Positions it is suppressed at; null means all. */
  positions: number[] | null
}

const KEY = /^[A-Za-z0-9_.]+:\d{1,7}$/
const GROUP = '~'

export const MAX_ENTRIES = 512

/** `~Woods`, `model.layers.0.mlp.down_proj:3`, with `;0.5` for a strength and `@2,3` for positions where they are not the usual. */
export function encodeEntry(entry: BasketEntry): string {
  const name =
    entry.kind === 'group' ? `${GROUP}${entry.name.replace(/[%;@]/g, encodeURIComponent)}` : entry.name
  const strength = entry.strength === 1 ? '' : `;${Number(entry.strength.toFixed(3))}`
  const positions = entry.positions === null ? '' : `@${entry.positions.join(',')}`
  return name + strength + positions
}

export function decodeEntry(code: string): BasketEntry | null {
  const match = /^([^;@]+)(?:;([^@]*))?(?:@(.*))?$/.exec(code)
  if (!match) return null
  const [, head = '', strengthText, positionText] = match
  const strength = strengthText === undefined ? 1 : Number(strengthText || Number.NaN)
  if (!(strength >= 0 && strength <= 1)) return null
  let positions: number[] | null = null
  if (positionText !== undefined) {
    if (!/^\d{1,5}(,\d{1,5})*$/.test(positionText)) return null
    positions = positionText.split(',').map(Number)
  }
  if (head.startsWith(GROUP)) {
    try {
      const name = decodeURIComponent(head.slice(1))
      return name === '' ? null : { kind: 'group', name, strength, positions }
    } catch {
      return null
    }
  }
  return KEY.test(head) ? { kind: 'component', name: head, strength, positions } : null
}

export const sameThing = (a: BasketEntry, b: Pick<BasketEntry, 'kind' | 'name'>) =>
  a.kind === b.kind && a.name === b.name

export function toggleEntry(basket: BasketEntry[], what: Pick<BasketEntry, 'kind' | 'name'>): BasketEntry[] {
  if (basket.some((entry) => sameThing(entry, what))) return basket.filter((entry) => !sameThing(entry, what))
  return [...basket, { ...what, strength: 1, positions: null }]
}

export interface Expansion {
  components: Suppression[]
  /** Groups the decomposition does not know: named, not dropped in silence. */
  unknown: string[]
}

/**
 * The suppressions a basket stands for on a prompt of `length` tokens. A component's own entry goes before its groups';
 * of two groups the one with the larger strength holds. Entries whose positions all lie past the prompt's end do nothing.
 */
export function expandBasket(basket: BasketEntry[], groups: Map<string, Group>, length: number): Expansion {
  const unknown: string[] = []
  const found = new Map<string, Suppression>()
  const put = (keys: string[], entry: BasketEntry, overrides: boolean) => {
    const positions = entry.positions?.filter((position) => position < length) ?? null
    if (positions?.length === 0) return
    for (const key of keys) {
      const old = found.get(key)
      if (overrides || !old || entry.strength > old.strength) {
        found.set(key, { key, strength: entry.strength, positions })
      }
    }
  }
  for (const entry of basket.filter((one) => one.kind === 'group')) {
    const group = groups.get(entry.name)
    if (group) put(group.components, entry, false)
    else unknown.push(entry.name)
  }
  for (const entry of basket.filter((one) => one.kind === 'component')) put([entry.name], entry, true)
  return { components: [...found.values()].sort((a, b) => (a.key < b.key ? -1 : 1)), unknown }
}

/** A and B together: what is in either, the larger strength where both have it. */
export function joinSuppressions(a: Suppression[], b: Suppression[]): Suppression[] {
  const found = new Map(a.map((one) => [one.key, one]))
  for (const one of b) {
    const old = found.get(one.key)
    if (!old || one.strength > old.strength) found.set(one.key, one)
  }
  return [...found.values()].sort((x, y) => (x.key < y.key ? -1 : 1))
}

/** Which components a basket holds, groups opened. */
export function basketKeys(basket: BasketEntry[], groups: Map<string, Group>): Set<string> {
  return new Set(
    basket.flatMap((entry) =>
      entry.kind === 'component' ? [entry.name] : (groups.get(entry.name)?.components ?? []),
    ),
  )
}

/** A basket for recorded suppressions: the groups that are wholly and plainly in it by name, the rest one by one. */
export function packBasket(components: Suppression[], names: string[], groups: Group[]): BasketEntry[] {
  const plain = new Set(components.filter((c) => c.strength === 1 && !c.positions).map((c) => c.key))
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
        }),
      ),
  ]
}
