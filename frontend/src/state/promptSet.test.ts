import { describe, expect, it } from 'vitest'
import type { Comparison } from '@/api/types'
import { encodeSetPrompt, promptsOfSet, readPromptSet, rowOf, type SetRow, summarise } from './promptSet'
import { parseSearch } from './search'

const row = (index: number, change: number, before = 0.5, after = 0.5): SetRow => ({
  index,
  token: ' a',
  before,
  after,
  change,
  kl: 0,
})

describe('a set of prompts', () => {
  it('is in the address with its answers, and what is no prompt is reported', () => {
    const set = [
      { spec: { text: 'a => b is an arrow', bos: true }, answer: ' golf' },
      { spec: { text: 'no answer', bos: false }, answer: null },
      { spec: { text: 'an => arrow alone', bos: false }, answer: null },
      { spec: { ids: [3, 5], bos: false }, answer: ' x' },
    ]
    const codes = set.map((one) => `q=${encodeURIComponent(encodeSetPrompt(one))}`)
    const { search, problems } = readPromptSet(parseSearch(`?${codes.join('&')}&q=~1.x&a=nobody`))
    expect(promptsOfSet(search)).toEqual(set)
    expect(problems).toHaveLength(2)
  })

  it('is measured at the answer, or at what was most likely', () => {
    const output = (probability: number, rank: number) => ({ probability, logit: 0, rank })
    const shift = {
      position: 1,
      kl: 0.25,
      top: [{ token_id: 1, token: ' a', baseline: output(0.5, 1), ablated: output(0.25, 1) }],
      watched: [{ token_id: 2, token: ' b', baseline: output(0.1, 2), ablated: output(0.2, 2) }],
    }
    const found = {
      conditions: [{ condition: 'A', positions: [shift] }],
    } as unknown as Comparison['prompts'][number]
    expect(rowOf(0, null, found)).toMatchObject({ token: ' a', change: Math.log(0.5), kl: 0.25 })
    expect(rowOf(0, ' b', found)).toMatchObject({ before: 0.1, after: 0.2, change: Math.log(2) })
    expect(rowOf(0, ' c', found)).toBeNull()
  })

  it('has a mean, an interval around it, and a worst prompt', () => {
    const rows = [row(0, -1, 0.5, 0.2), row(1, -2, 0.5, 0.1), row(2, -3, 0.5, 0.46), row(3, -2)]
    const found = summarise(rows)
    expect(found).toMatchObject({ prompts: 4, mean: -2, falls: 2 })
    expect(found?.worst.index).toBe(2)
    const [low, high] = found?.interval ?? [0, 0]
    expect(low).toBeGreaterThanOrEqual(-3)
    expect(low).toBeLessThan(-2)
    expect(high).toBeGreaterThan(-2)
    expect(high).toBeLessThanOrEqual(-1)
    expect(summarise(rows)).toEqual(found)
    expect(summarise([row(0, -1)])?.interval).toBeNull()
    expect(summarise([])).toBeNull()
  })
})
