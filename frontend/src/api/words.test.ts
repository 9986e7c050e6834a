import { describe, expect, it } from 'vitest'
import {
  count,
  figure,
  measured,
  nats,
  probability,
  probabilityChange,
  shortKey,
  shortSite,
  signed,
  unit,
  visible,
} from './words'

describe('numbers on screen', () => {
  it.each([
    [0.325, '32.5 %'],
    [0.01, '1.0 %'],
    [0.0754, '7.5 %'],
    [0.0062, '0.62 %'],
    [1.04e-5, '0.0010 %'],
    [3.2e-9, '< 0.001 %'],
    [0.99998, '> 99.9 %'],
    [1, '100.0 %'],
    [0, '0 %'],
  ])('a probability of %s reads %s', (p, text) => expect(probability(p)).toBe(text))

  it.each([
    [-0.318, '−31.8'],
    [0.0024, '+0.24'],
    [1e-12, '0'],
  ])('a difference of probabilities of %s reads %s in percentage points', (d, text) =>
    expect(probabilityChange(d)).toBe(text),
  )

  it.each([
    [3.1e-9, '< 1e-7'],
    [3.1e-6, '3.1e-6'],
    [0.013, '0.013'],
    [1.84, '1.84'],
    [0, '< 1e-7'],
    [-2e-9, '< 1e-7'],
    [-3e-6, '≤ 3e-6'],
  ])('a KL of %s reads %s', (x, text) => expect(nats(x)).toBe(text))

  it('a figure in nats follows the rule for KL, any other its own', () => {
    expect(measured(0, 'nats')).toBe('< 1e-7')
    expect(measured(0, 'components')).toBe('0')
    expect(measured(null, 'nats')).toBe('–')
  })

  it('a sign is a true minus, and what rounds to nothing has none', () => {
    expect(signed(-3.94, 1)).toBe('−3.9')
    expect(signed(0.04, 1)).toBe('0.0')
  })

  it.each([
    [1, '1'],
    [0.98, '.98'],
    [0.001, '<.01'],
  ])('a causal importance of %s reads %s in a cell', (v, text) => expect(unit(v)).toBe(text))

  it('a figure that is missing is a dash, never a zero', () => {
    expect(figure(null)).toBe('–')
    expect(figure(0)).toBe('0')
    expect(figure(30)).toBe('30')
  })

  it('thousands are separated by a comma', () => {
    expect(count(134_515_008)).toBe('134,515,008')
    expect(figure(12_345.6)).toBe('12,346')
  })
})

describe('names on screen', () => {
  it.each([
    ['model.layers.0.mlp.down_proj', 'L0 mlp.down'],
    ['model.layers.12.self_attn.q_proj', 'L12 attn.q'],
    ['transformer.h.3.mlp.c_fc', 'L3 mlp.c_fc'],
    ['model.embed_tokens', 'embed_tokens'],
  ])('%s is shown as %s', (site, short) => expect(shortSite(site)).toBe(short))

  it('a key is its site, short, and its index', () => {
    expect(shortKey('model.layers.0.mlp.down_proj:11')).toBe('L0 mlp.down:11')
  })

  it('spaces and newlines of a token can be seen', () => {
    expect(visible(' Woods\n')).toBe('␣Woods↵')
    expect(visible('')).toBe('∅')
  })
})
