import { describe, expect, it } from 'vitest'
import type { ConditionResult, PromptComparison } from '@/api/types'
import { decodeEntry, encodeEntry, expandBasket, joinSuppressions, readStrength } from './basket'
import { compareRows, describeCondition, describeInteraction, sortRows } from './compare'

const shift = (id: number, token: string, before: number, after: number) => ({
  token_id: id,
  token,
  baseline: { probability: before, logit: Math.log(before), rank: 1 },
  ablated: { probability: after, logit: Math.log(after), rank: 1 },
})
const result = (
  condition: ConditionResult['condition'],
  kl: number,
  golf: number,
  ball: number,
): ConditionResult => ({
  condition,
  components: 1,
  kl: [kl],
  max_kl: kl,
  cached: false,
  positions: [
    { position: 0, kl, top: [], watched: [shift(1, ' golf', 0.4, golf), shift(2, ' ball', 0.5, ball)] },
  ],
})
const comparison: PromptComparison = {
  tokens: [{ id: 9, piece: 'x' }],
  conditions: [
    result('none', 0, 0.4, 0.5),
    result('A', 2, 0.04, 0.49),
    result('B', 0.1, 0.2, 0.5),
    result('A+B', 2.5, 0.01, 0.1),
  ],
  interactions: [],
  self_check: { max_kl: 0, of: 'prompt' },
}
const asked = [{ prompt: 0, tokenId: 1 }]
const rows = (measure: 'probability' | 'logit' | 'difference' | 'kl', watched: Set<number> | null = null) =>
  compareRows([comparison], asked, { measure, contrast: [1, 2], watched })

describe('conditions side by side', () => {
  it('have the measure, its change from none, the KL and the interaction', () => {
    const [row] = rows('probability')
    expect(row?.cells.a).toEqual({ value: 0.04, change: 0.04 - 0.4, kl: 2 })
    expect(row?.interaction).toBeCloseTo(0.01 - 0.04 - 0.2 + 0.4)
  })
  it('measure a logit difference of two tokens, one row per prompt', () => {
    const difference = rows('difference', new Set([1, 2]))
    expect(difference).toHaveLength(1)
    expect(difference[0]?.cells.none?.value).toBeCloseTo(Math.log(0.4 / 0.5))
    expect(difference[0]?.cells.ab?.value).toBeCloseTo(Math.log(0.01 / 0.1))
  })
  it('give watched tokens rows of their own on request', () => {
    expect(rows('logit', new Set([1, 2])).map((row) => row.token)).toEqual([' golf', ' ball'])
    expect(rows('kl', new Set([1, 2])).map((row) => row.cells.b?.value)).toEqual([0.1])
  })
  it('are sorted by what a condition changes', () => {
    const both = rows('probability', new Set([1, 2]))
    expect(sortRows(both, 'a', 'asc').map((row) => row.token)).toEqual([' golf', ' ball'])
    expect(sortRows(both, 'ab', 'asc').map((row) => row.token)).toEqual([' ball', ' golf'])
  })
  it('describe what falls, what stays, and the interaction', () => {
    const both = rows('probability', new Set([1, 2]))
    expect(describeCondition(both, 'a', 1)).toBe('␣golf falls from 40.0 % to 4.0 %')
    const stays = both.map((row) => ({ ...row, own: row.tokenId === 2, prompt: 1 }))
    expect(describeCondition(stays, 'a', 2)).toBe('␣ball (2) stays at 49.0 %')
    // −1.39 with A and B added up would be ln 0.1 + ln 0.5; together it is ln 0.025: 0.69 logits more.
    expect(describeInteraction(rows('logit'), 1)).toBe(
      'Together they do more than the sum of each: −0.69 logits on ␣golf.',
    )
  })
  it('hold only the requested conditions', () => {
    const less = { ...comparison, conditions: comparison.conditions.slice(0, 2) }
    const [row] = compareRows([less], asked, { measure: 'logit', contrast: null, watched: null })
    expect(Object.keys(row?.cells ?? {})).toEqual(['none', 'a'])
    expect(row?.interaction).toBeNull()
  })
})

describe('an entry of a basket', () => {
  it('may act from a position on', () => {
    const entry = { kind: 'group', name: 'Woods', strength: 0.5, positions: null, start: 3 } as const
    expect(encodeEntry(entry)).toBe('~Woods;0.5@3-')
    expect(decodeEntry('~Woods;0.5@3-')).toEqual(entry)
    const groups = new Map([['Woods', { name: 'Woods', token: ' Woods', components: ['s:1'], why: '' }]])
    expect(expandBasket([entry], groups, 7).components).toEqual([
      { key: 's:1', strength: 0.5, positions: null, start: 3 },
    ])
    expect(expandBasket([entry], groups, 3).components).toEqual([])
  })
  it.each([
    ['0.5', 0.5],
    ['.25', 0.25],
    ['0,5', 0.5],
    ['40 %', 0.4],
    ['1', 1],
  ])('takes the strength “%s”', (text, value) => expect(readStrength(text)).toBe(value))
  it.each(['', 'half', 'NaN', '3.5', '-2.1', '1e-3', '0.5.5'])('takes no strength “%s”', (text) =>
    expect(readStrength(text)).toBeNull(),
  )
})

describe('A and B together', () => {
  it('hold a shared component at each position by the larger strength', () => {
    const a = [{ key: 's:1', strength: 1, positions: [0, 1] }]
    const b = [{ key: 's:1', strength: 0.5, positions: null, start: 1 }]
    expect(joinSuppressions(a, b, 4)).toEqual([
      { key: 's:1', strength: 1, positions: [0, 1] },
      { key: 's:1', strength: 0.5, positions: [2, 3] },
    ])
  })
  it('hold it everywhere where the larger strength is', () => {
    const a = [{ key: 's:1', strength: 1, positions: null }]
    const b = [{ key: 's:1', strength: 0.5, positions: [0] }]
    expect(joinSuppressions(a, b, 4)).toEqual([{ key: 's:1', strength: 1, positions: null }])
  })
})
