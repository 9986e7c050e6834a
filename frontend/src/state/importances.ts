/** Sparse causal importances, indexed once for the grid and the lists. */
import type { Group, Importances } from '@/api/types'
import { layerOf } from '@/api/words'

/** One component on one prompt: its CI and inner activation at every position. */
export interface Trace {
  key: string
  site: string
  ci: Float32Array
  activation: Float32Array
}

export interface CIIndex {
  length: number
  sites: string[]
  traces: Map<string, Trace>
  bySite: Map<string, Trace[]>
}

export function indexImportances(answer: Importances): CIIndex {
  const length = answer.tokens.length
  const traces = new Map<string, Trace>()
  const bySite = new Map<string, Trace[]>()
  for (let i = 0; i < answer.ci.length; i += 1) {
    const site = answer.sites[answer.site[i] ?? -1]
    const position = answer.position[i] ?? 0
    if (site === undefined) continue
    const key = `${site}:${answer.component[i]}`
    let trace = traces.get(key)
    if (!trace) {
      trace = { key, site, ci: new Float32Array(length), activation: new Float32Array(length) }
      traces.set(key, trace)
      const there = bySite.get(site)
      if (there) there.push(trace)
      else bySite.set(site, [trace])
    }
    trace.ci[position] = answer.ci[i] ?? 0
    trace.activation[position] = answer.inner_activation[i] ?? 0
  }
  return { length, sites: answer.sites, traces, bySite }
}

/** A row of the grid: a site, or a folded layer for all of its sites. */
export interface GridRow {
  /** Its name in the address: a site's path, or `L3`. */
  id: string
  sites: string[]
  kind: 'layer' | 'site'
  layer: number | null
  open: boolean
}

/** Rows for the sites in model order. A layer in `open` shows its sites; the others are one row. */
export function gridRows(sites: string[], open: (layer: number) => boolean): GridRow[] {
  const rows: GridRow[] = []
  let last: number | null | undefined
  for (const site of sites) {
    const layer = layerOf(site)
    if (layer === null) rows.push({ id: site, sites: [site], kind: 'site', layer, open: true })
    else {
      if (layer !== last) {
        const all = sites.filter((other) => layerOf(other) === layer)
        rows.push({ id: `L${layer}`, sites: all, kind: 'layer', layer, open: open(layer) })
      }
      if (open(layer)) rows.push({ id: site, sites: [site], kind: 'site', layer, open: true })
    }
    last = layer
  }
  return rows
}

/** [rows][positions] in one array: the largest CI in a cell, or how many components lie above the threshold. */
export function gridValues(
  index: CIIndex,
  rows: GridRow[],
  show: 'max' | 'count',
  threshold: number,
): Float32Array {
  const values = new Float32Array(rows.length * index.length)
  rows.forEach((row, r) => {
    for (const site of row.sites) {
      for (const { ci } of index.bySite.get(site) ?? []) {
        for (let p = 0; p < index.length; p += 1) {
          const value = ci[p] ?? 0
          const at = r * index.length + p
          if (value < threshold || value === 0) continue
          if (show === 'count') values[at] = (values[at] ?? 0) + 1
          else if (value > (values[at] ?? 0)) values[at] = value
        }
      }
    }
  })
  return values
}

export interface Match {
  trace: Trace
  /** Largest CI within the selection, and where. */
  ci: number
  position: number
}

/** The components above the threshold in a selection, the largest CI first. No sites or no position means all. */
export function matchSelection(
  index: CIIndex,
  sites: string[] | null,
  position: number | null,
  threshold: number,
): Match[] {
  const matches: Match[] = []
  const traces = sites ? sites.flatMap((site) => index.bySite.get(site) ?? []) : [...index.traces.values()]
  for (const trace of traces) {
    const at = position ?? argmax(trace.ci)
    const ci = trace.ci[at] ?? 0
    if (ci >= threshold && ci > 0) matches.push({ trace, ci, position: at })
  }
  return matches.sort(
    (a, b) =>
      b.ci - a.ci ||
      Math.abs(b.trace.activation[b.position] ?? 0) - Math.abs(a.trace.activation[a.position] ?? 0),
  )
}

/** A group over the positions of a prompt: the largest CI of its members at each. */
export function groupTrace(index: CIIndex, group: Group): Float32Array {
  const ci = new Float32Array(index.length)
  for (const key of group.components) {
    index.traces.get(key)?.ci.forEach((value, p) => {
      if (value > (ci[p] ?? 0)) ci[p] = value
    })
  }
  return ci
}

export function argmax(values: ArrayLike<number>): number {
  let best = 0
  for (let i = 1; i < values.length; i += 1) if ((values[i] ?? 0) > (values[best] ?? 0)) best = i
  return best
}

/** The sites of a row of the grid: its own, or those of a whole layer. */
export function sitesOfRow(sites: string[], row: string): string[] {
  const layer = /^L(\d+)$/.exec(row)
  return layer
    ? sites.filter((site) => layerOf(site) === Number(layer[1]))
    : sites.filter((site) => site === row)
}
