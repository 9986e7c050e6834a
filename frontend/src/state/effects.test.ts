import { describe, expect, it } from 'vitest'
import type { Attribution, Group, Importances } from '@/api/types'
import { effectAt, gridEffects, indexEffects, saturated } from './effects'
import { gridRows, indexImportances } from './importances'
import { mattersAt } from './matters'

const tokens = ['a', 'b'].map((piece, id) => ({ id, piece }))
const sites = ['layers.0.up', 'layers.1.up']
const importances = indexImportances({
  tokens,
  sites,
  site: [0, 0, 1],
  position: [0, 1, 1],
  component: [0, 0, 7],
  ci: [1, 1, 0.5],
  inner_activation: [2, 3, -1],
} as Importances)
const effects = indexEffects({
  tokens,
  sites,
  components: { site: [1, 0, 1], component: [7, 0, 9], effect: [-2, 0.5, 0.25] },
  places: {
    site: [0, 0, 1, 1],
    position: [0, 1, 1, 0],
    component: [0, 0, 7, 9],
    effect: [1, -0.5, -2, 0.25],
  },
} as Attribution)

describe('effects', () => {
  it('are over all positions, or at one', () => {
    expect(effectAt(effects, 'layers.0.up:0', null)).toBe(0.5)
    expect(effectAt(effects, 'layers.0.up:0', 1)).toBe(-0.5)
    expect(effectAt(effects, 'layers.1.up:7', 0)).toBe(0)
  })

  it('are summed without signs over the components in use in a cell', () => {
    const rows = gridRows(sites, () => false)
    expect([...gridEffects(importances, effects, rows, 0.1)]).toEqual([1, 0.5, 0, 2])
    expect([...gridEffects(importances, effects, rows, 0.6)]).toEqual([1, 0.5, 0, 0])
  })

  it('are shown where the largest CI is near 1 nearly everywhere', () => {
    const ci = (one: number) =>
      indexImportances({
        tokens,
        sites,
        site: [0, 0],
        position: [0, 1],
        component: [0, 0],
        ci: [one, one],
        inner_activation: [1, 1],
      } as Importances)
    expect(saturated(ci(1))).toBe(true)
    expect(saturated(ci(0.9))).toBe(false)
  })
})

describe('what matters', () => {
  const groups: Group[] = [
    { name: 'both', token: 'b', components: ['layers.0.up:0', 'layers.1.up:7'], why: '' },
  ]
  const everywhere = { sites: null, column: null, threshold: 0.1 }
  const names = (list: { name: string }[]) => list.map((one) => one.name)

  it('by effect: the largest first, also of a component that is not in use', () => {
    const found = mattersAt(importances, effects, [], groups, everywhere, 'effect')
    expect(names(found.components)).toEqual(['layers.1.up:7', 'layers.0.up:0', 'layers.1.up:9'])
    expect(found.components[2]?.ci).toBe(0)
    expect(found.groups[0]?.effect).toBe(-1.5)
  })

  it('a measured effect counts before that of the first order', () => {
    const exact = [{ kind: 'component' as const, name: 'layers.0.up:0', effect: -3, probability: 0.1, kl: 1 }]
    const found = mattersAt(importances, effects, exact, groups, everywhere, 'effect')
    expect(names(found.components)[0]).toBe('layers.0.up:0')
  })

  it('by CI: only what is in use, the largest CI first', () => {
    const found = mattersAt(importances, effects, [], groups, everywhere, 'ci')
    expect(names(found.components)).toEqual(['layers.0.up:0', 'layers.1.up:7'])
  })

  it('at a position: the effects and the CI there', () => {
    const found = mattersAt(importances, effects, [], groups, { ...everywhere, column: 1 }, 'effect')
    expect(names(found.components)).toEqual(['layers.1.up:7', 'layers.0.up:0'])
    expect(found.components[1]?.effect).toBe(-0.5)
  })
})
