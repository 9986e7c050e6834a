import { describe, expect, it } from 'vitest'
import type { ModuleView } from '@/api/types'
import { slug, valueAt, withMethod, withValue } from './newRun'
import { families, firstSites, matchedBy, patternMatches, patternsFor } from './sites'

const module = (path: string, d_out = 16, d_in = 24): ModuleView => ({
  path,
  kind: 'Linear',
  d_out,
  d_in,
  parameters: d_out * d_in,
  refused: null,
})
const LAYERS = 12
const modules = [
  module('model.embed_tokens', 16, 99),
  ...Array.from({ length: LAYERS }, (_, layer) => [
    module(`model.layers.${layer}.self_attn.q_proj`, 16, 16),
    module(`model.layers.${layer}.mlp.up_proj`, 24, 16),
    module(`model.layers.${layer}.mlp.down_proj`, 16, 24),
  ]).flat(),
]
const down = (...layers: number[]) => layers.map((layer) => `model.layers.${layer}.mlp.down_proj`)

describe('patterns of sites', () => {
  it('match as fnmatch does', () => {
    expect(patternMatches('model.layers.[3-5].mlp.*', 'model.layers.4.mlp.up_proj')).toBe(true)
    expect(patternMatches('model.layers.[!3-5].mlp.*', 'model.layers.4.mlp.up_proj')).toBe(false)
    expect(patternMatches('model.layers.?.mlp.*', 'model.layers.11.mlp.up_proj')).toBe(false)
    expect(patternMatches('model.layers.*', 'model_layers.4')).toBe(false)
    expect(patternMatches('a[', 'a[')).toBe(true)
  })

  it('are made from what is ticked, and match it and nothing else', () => {
    expect(patternsFor(down(3, 4, 5), modules)).toEqual(['model.layers.[3-5].mlp.down_proj'])
    expect(patternsFor(down(...Array(LAYERS).keys()), modules)).toEqual(['model.layers.*.mlp.down_proj'])
    expect(patternsFor(down(0, 1, 7, 10, 11), modules)).toEqual([
      'model.layers.[0-1].mlp.down_proj',
      'model.layers.7.mlp.down_proj',
      'model.layers.10.mlp.down_proj',
      'model.layers.11.mlp.down_proj',
    ])
    expect(patternsFor(['model.embed_tokens'], modules)).toEqual(['model.embed_tokens'])
    for (const chosen of [down(0, 9, 10), modules.map((one) => one.path)]) {
      const found = matchedBy(patternsFor(chosen, modules), modules).map((one) => one.path)
      expect(found).toEqual(modules.map((one) => one.path).filter((path) => chosen.includes(path)))
    }
  })

  it('begin with what the MLPs of the first four layers write', () => {
    expect(firstSites(modules, 16)).toEqual(['model.layers.[0-3].mlp.down_proj'])
    expect(families(modules).map((family) => family.modules.length)).toEqual([1, 12, 12, 12])
  })
})

describe('a config that is set up', () => {
  it('keeps model, sites and data under another method', () => {
    const config = { name: 'mine', sites: ['a'], steps: 3, prune: { at: [0.5] } }
    const recipe = { kind: 'corpus' as const, size: 'quick' as const, sites: '*', config: { steps: 9 } }
    expect(withMethod(config, recipe)).toEqual({ name: 'mine', sites: ['a'], steps: 9 })
  })

  it('is read and changed at a path, and never in place', () => {
    const config = { losses: [{ kind: 'a', coefficient: 1 }, { kind: 'b' }] }
    expect(valueAt(config, ['losses', '0', 'coefficient'])).toBe(1)
    const changed = withValue(config, ['losses', '0', 'coefficient'], 2)
    expect(changed).toEqual({ losses: [{ kind: 'a', coefficient: 2 }, { kind: 'b' }] })
    expect(withValue(changed, ['losses', '0', 'coefficient'], undefined)).toEqual({
      losses: [{ kind: 'a' }, { kind: 'b' }],
    })
    expect(config.losses[0]).toEqual({ kind: 'a', coefficient: 1 })
  })

  it('has a name that can be one', () => {
    expect(slug('My Llama_3 (tiny)')).toBe('my-llama-3-tiny')
    expect(slug('…')).toBe('run')
  })
})
