/** What matters at a selection: components and groups with their CI and their effect on the token, ranked by either. */
import type { ExactEffect, Group } from '@/api/types'
import { type EffectIndex, effectAt } from './effects'
import { type CIIndex, groupTrace, matchSelection } from './importances'
import type { Ranking } from './workbench'

export interface Matter {
  kind: 'component' | 'group'
  name: string
  group: Group | null
  /** Largest within the selection; 0 for a component that is not in use. */
  ci: number
  /** CI at every position. */
  trace: Float32Array
  /** Inner activation where the CI is largest; of a component in use. */
  activation: number | null
  /** First order, nats; null while it is not known. */
  effect: number | null
  /** At every position, to first order. */
  effects: Float32Array
  /** Measured by an ablation of its own. */
  exact: ExactEffect | null
}

export interface Selection {
  sites: string[] | null
  column: number | null
  threshold: number
}

/** Smaller effects of components that are not in use are left out. */
const LEAST = 1e-3

export const sizeOf = (matter: Matter): number => Math.abs(matter.exact?.effect ?? matter.effect ?? 0)

const order = (ranking: Ranking) => (a: Matter, b: Matter) =>
  ranking === 'effect'
    ? sizeOf(b) - sizeOf(a) || b.ci - a.ci
    : b.ci - a.ci || Math.abs(b.activation ?? 0) - Math.abs(a.activation ?? 0)

export function mattersAt(
  index: CIIndex,
  effects: EffectIndex | null,
  exact: ExactEffect[],
  groups: Group[],
  selection: Selection,
  ranking: Ranking,
): { groups: Matter[]; components: Matter[] } {
  const { sites, column, threshold } = selection
  const none = new Float32Array(index.length)
  const measured = new Map(exact.map((one): [string, ExactEffect] => [`${one.kind} ${one.name}`, one]))
  const known = (key: string) => (effects ? effectAt(effects, key, column) : null)
  const components = matchSelection(index, sites, column, threshold).map(
    (match): Matter => ({
      kind: 'component',
      name: match.trace.key,
      group: null,
      ci: match.ci,
      trace: match.trace.ci,
      activation: match.trace.activation[match.position] ?? 0,
      effect: known(match.trace.key),
      effects: effects?.byPosition.get(match.trace.key) ?? none,
      exact: measured.get(`component ${match.trace.key}`) ?? null,
    }),
  )
  if (effects && ranking === 'effect') {
    const there = new Set(components.map((one) => one.name))
    const keys = (sites ?? index.sites).flatMap((site) => effects.bySite.get(site) ?? [])
    for (const key of keys) {
      const effect = effectAt(effects, key, column)
      if (there.has(key) || Math.abs(effect) < LEAST) continue
      const trace = index.traces.get(key)
      components.push({
        kind: 'component',
        name: key,
        group: null,
        ci: column === null ? Math.max(0, ...(trace?.ci ?? [])) : (trace?.ci[column] ?? 0),
        trace: trace?.ci ?? none,
        activation: null,
        effect,
        effects: effects.byPosition.get(key) ?? none,
        exact: measured.get(`component ${key}`) ?? null,
      })
    }
  }
  const used = new Set(components.map((one) => one.name))
  const named = groups
    .filter((group) => group.components.some((key) => used.has(key)))
    .map((group): Matter => {
      const trace = groupTrace(index, group)
      return {
        kind: 'group',
        name: group.name,
        group,
        ci: column === null ? Math.max(...trace) : (trace[column] ?? 0),
        trace,
        activation: null,
        effect: effects
          ? group.components.reduce((sum, key) => sum + effectAt(effects, key, column), 0)
          : null,
        effects: summed(group.components, effects, index.length),
        exact: sites ? null : (measured.get(`group ${group.name}`) ?? null),
      }
    })
    .filter((matter) => matter.ci >= threshold)
  return { groups: named.sort(order(ranking)), components: components.sort(order(ranking)) }
}

function summed(keys: string[], effects: EffectIndex | null, length: number): Float32Array {
  const sum = new Float32Array(length)
  for (const key of keys)
    effects?.byPosition.get(key)?.forEach((value, p) => {
      sum[p] = (sum[p] ?? 0) + value
    })
  return sum
}
