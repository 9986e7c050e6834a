/** The experiments' part of the address: which one is open, and its settings. */
import type { SearchReader } from './search'

export const LABS = ['sweep', 'masks', 'attention', 'continue'] as const
export const SWEEPS = ['basket', 'strengths', 'alive'] as const
export const RANKS = ['kl', 'watched', 'contrast', 'ce'] as const
export type Lab = (typeof LABS)[number]
export type SweepKind = (typeof SWEEPS)[number]
export type Rank = (typeof RANKS)[number]

/**
 *   lab    the open experiment                     sk, by, run   sweep: what is swept, ranked by what, started at once
 *   keep, seed, ns, st   masks: what stays, seed, samples, steps       la, av   attention: the layer, what is drawn
 *   tk, here   sweep: the token ranked by, only the selected row      len    continuation: how many tokens
 */
export interface LabSearch {
  lab?: Lab
  sk?: SweepKind
  by?: Rank
  run?: 'yes'
  keep?: 'importances' | 'basket'
  seed?: number
  ns?: number
  st?: number
  la?: number
  av?: 'before' | 'after' | 'change'
  len?: number
  /** The token a sweep ranks by. */
  tk?: string
  /** Only the selected row's components are swept. */
  here?: 'yes'
}

export const LAB_DEFAULTS = {
  sk: 'alive',
  by: 'kl',
  keep: 'importances',
  seed: 0,
  ns: 16,
  st: 20,
  la: 0,
  av: 'after',
  len: 10,
} as const satisfies LabSearch

export function readLab(read: SearchReader): LabSearch {
  const whole = (name: string, min: number, max: number) => read.number(name, { min, max, whole: true })
  return {
    lab: read.choice('lab', LABS),
    sk: read.choice('sk', SWEEPS),
    by: read.choice('by', RANKS),
    run: read.choice('run', ['yes']),
    keep: read.choice('keep', ['importances', 'basket']),
    seed: whole('seed', 0, 2 ** 32 - 1),
    ns: whole('ns', 1, 64),
    st: whole('st', 0, 100),
    la: whole('la', 0, 1000),
    av: read.choice('av', ['before', 'after', 'change']),
    len: whole('len', 1, 20),
    tk: read.text('tk', 80),
    here: read.choice('here', ['yes']),
  }
}
