/** First-order effects of components on a prompt's token, indexed once for the grid and the lists. */
import type { Attribution } from '@/api/types'
import type { CIIndex, GridRow } from './importances'

export interface EffectIndex {
  /** Over all positions, nats. */
  total: Map<string, number>
  /** At each position, nats; of components with a place that is listed. */
  byPosition: Map<string, Float32Array>
  bySite: Map<string, string[]>
}

export function indexEffects(answer: Attribution): EffectIndex {
  const key = (site: number | undefined, component: number | undefined) =>
    `${answer.sites[site ?? -1]}:${component}`
  const { components, places } = answer
  const total = new Map(
    components.effect.map((effect, i): [string, number] => [
      key(components.site[i], components.component[i]),
      effect,
    ]),
  )
  const byPosition = new Map<string, Float32Array>()
  const bySite = new Map<string, string[]>()
  places.effect.forEach((effect, i) => {
    const name = key(places.site[i], places.component[i])
    let row = byPosition.get(name)
    if (!row) {
      row = new Float32Array(answer.tokens.length)
      byPosition.set(name, row)
      const site = answer.sites[places.site[i] ?? -1] ?? ''
      bySite.set(site, [...(bySite.get(site) ?? []), name])
    }
    row[places.position[i] ?? 0] = effect
  })
  return { total, byPosition, bySite }
}

/** A component's first-order effect over all positions, or at one. */
export function effectAt(index: EffectIndex, key: string, position: number | null): number {
  return position === null ? (index.total.get(key) ?? 0) : (index.byPosition.get(key)?.[position] ?? 0)
}

/** [rows][positions]: the absolute effects of the components in use there, summed, nats. */
export function gridEffects(
  importances: CIIndex,
  effects: EffectIndex,
  rows: GridRow[],
  threshold: number,
): Float32Array {
  const { length } = importances
  const values = new Float32Array(rows.length * length)
  rows.forEach((row, r) => {
    for (const site of row.sites)
      for (const key of effects.bySite.get(site) ?? []) {
        const ci = importances.traces.get(key)?.ci
        const effect = effects.byPosition.get(key)
        if (!ci || !effect) continue
        for (let p = 0; p < length; p += 1) {
          const importance = ci[p] ?? 0
          if (importance === 0 || importance < threshold) continue
          const at = r * length + p
          values[at] = (values[at] ?? 0) + Math.abs(effect[p] ?? 0)
        }
      }
  })
  return values
}

/** Whether the largest CI is near 1 nearly everywhere, so that a grid of it shows nothing. */
export function saturated(index: CIIndex): boolean {
  let [cells, full] = [0, 0]
  for (const traces of index.bySite.values())
    for (let p = 0; p < index.length; p += 1) {
      cells += 1
      if (traces.some((trace) => (trace.ci[p] ?? 0) > 0.95)) full += 1
    }
  return cells > 0 && full >= 0.8 * cells
}
