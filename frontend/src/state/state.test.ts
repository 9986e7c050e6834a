import { describe, expect, it } from 'vitest'
import type { Group, Importances, OutputShift, PositionShift } from '@/api/types'
import {
  type BasketEntry,
  decodeEntry,
  encodeEntry,
  expandBasket,
  joinSuppressions,
  packBasket,
  readStrength,
  strengthWord,
} from './basket'
import { gridRows, gridValues, indexImportances, matchSelection } from './importances'
import { decodePrompt, encodePrompt, joined, type PromptSpec, resolvePosition } from './prompts'
import { parseSearch, stringifySearch } from './search'
import { describeShift, interaction } from './shift'
import { readWorkbench, withoutDefaults } from './workbench'

describe('a prompt in the address', () => {
  const prompts: PromptSpec[] = [
    { text: 'Tiger Woods is an American professional', bos: false },
    { text: 'a\nb & c=d #1 “é” +', bos: true },
    { text: '^not a BOS', bos: false },
    { text: '~1.2 is text', bos: true },
    { text: '\\n', bos: false },
    { ids: [1, 49151, 7], bos: true },
    { text: '', bos: false },
    { text: '<|endoftext|>', bos: true, plain: true },
    { text: '\\=x', bos: false },
  ]
  it.each(prompts)('is decoded as it was encoded: %j', (prompt) => {
    const url = stringifySearch({ p: [encodePrompt(prompt)] })
    expect(decodePrompt(parseSearch(url).p?.[0] ?? '')).toEqual(prompt)
  })

  it('invalid token ids are not a prompt', () => {
    expect(decodePrompt('~1.x')).toBeNull()
    expect(decodePrompt('~')).toBeNull()
  })

  it('a position counts from the end when negative and stays inside the prompt', () => {
    expect(resolvePosition(-1, 7)).toBe(6)
    expect(resolvePosition(3, 7)).toBe(3)
    expect(resolvePosition(30, 7)).toBe(6)
  })
})

describe('the text of a prompt given as ids', () => {
  it('has its characters whole again, and what is no character as its bytes', () => {
    expect(joined(['a ', '<0xF0>', '<0x9F><0x91>', '<0xA9>', '!'])).toBe('a 👩!')
    expect(joined(['<0xC3>', 'x'])).toBe('<0xC3>x')
  })
})

describe('a basket in the address', () => {
  const entries: BasketEntry[] = [
    { kind: 'group', name: 'Woods', strength: 1, positions: null },
    { kind: 'group', name: '50%;@x', strength: 0.25, positions: [0, 3] },
    { kind: 'component', name: 'model.layers.0.mlp.down_proj:3', strength: 0.5, positions: [2] },
  ]
  it.each(entries)('is decoded as it was encoded: %j', (entry) =>
    expect(decodeEntry(encodeEntry(entry))).toEqual(entry),
  )

  it.each(['model.layers.0.mlp.down_proj', 'x:3;4', 'x:3;NaN', 'x:3;', 'x:3@a', '~', '~%', ''])(
    '“%s” is not an entry',
    (code) => expect(decodeEntry(code)).toBeNull(),
  )
})

const groups: Group[] = [
  { name: 'Woods', token: ' Woods', components: ['s:1', 's:2'], why: '' },
  { name: 'Tiger', token: 'iger', components: ['s:2', 's:3'], why: '' },
]
const byName = new Map(groups.map((group): [string, Group] => [group.name, group]))
const group = (name: string, strength = 1, positions: number[] | null = null): BasketEntry => ({
  kind: 'group',
  name,
  strength,
  positions,
})

describe('what a basket suppresses', () => {
  it('every component once; of two groups the larger strength', () => {
    const { components } = expandBasket([group('Woods', 0.5), group('Tiger', 1)], byName, 7)
    expect(components).toEqual([
      { key: 's:1', strength: 0.5, positions: null },
      { key: 's:2', strength: 1, positions: null },
      { key: 's:3', strength: 1, positions: null },
    ])
  })

  it('a component’s own entry takes precedence over its groups’', () => {
    const own: BasketEntry = { kind: 'component', name: 's:1', strength: 0, positions: null }
    expect(expandBasket([own, group('Woods')], byName, 7).components[0]).toEqual({
      key: 's:1',
      strength: 0,
      positions: null,
    })
  })

  it('positions past the end of a prompt do nothing to it', () => {
    expect(expandBasket([group('Woods', 1, [2, 9])], byName, 7).components[0]?.positions).toEqual([2])
    expect(expandBasket([group('Woods', 1, [9])], byName, 7).components).toEqual([])
  })

  it('an unknown group is reported, not dropped silently', () => {
    expect(expandBasket([group('Nobody')], byName, 7).unknown).toEqual(['Nobody'])
  })

  it('A and B together hold what is in either', () => {
    const joined = joinSuppressions(
      [{ key: 's:2', strength: 0.2 }],
      [
        { key: 's:1', strength: 1 },
        { key: 's:2', strength: 0.9 },
      ],
      7,
    )
    expect(joined.map((one) => [one.key, one.strength])).toEqual([
      ['s:1', 1],
      ['s:2', 0.9],
    ])
  })

  it('below 0 and above 1: of a component in both baskets, the strength further from 0', () => {
    const join = (one: number, other: number) =>
      joinSuppressions([{ key: 's:2', strength: one }], [{ key: 's:2', strength: other }], 4)
    expect(join(-2, 1)).toEqual([{ key: 's:2', strength: -2, positions: null }])
    expect(join(1, -1)).toEqual([{ key: 's:2', strength: 1, positions: null }])
    const some = [{ key: 's:2', strength: -1.5, positions: [1] }]
    expect(joinSuppressions(some, [{ key: 's:2', strength: 1 }], 3)).toEqual([
      { key: 's:2', strength: 1, positions: [0, 2] },
      { key: 's:2', strength: -1.5, positions: [1] },
    ])
  })

  it('from −2 to 3, in words what it does', () => {
    expect([' −1.5', '250 %', '3', '3.1', '-2.5'].map(readStrength)).toEqual([-1.5, 2.5, 3, null, null])
    expect([1, 0, -1, 2, 0.25].map((one) => strengthWord(one, false))).toEqual([
      'removed',
      'as it is',
      'amplified × 2',
      'reversed × 1',
      '× 0.75',
    ])
  })

  it('a recorded ablation becomes groups again where they are wholly in it', () => {
    const components = ['s:1', 's:2', 's:9'].map((key) => ({ key, strength: 1, positions: null }))
    expect(packBasket(components, ['Woods', 'Tiger'], groups).map(encodeEntry)).toEqual(['~Woods', 's:9'])
  })
})

describe('the workbench’s address', () => {
  const read = (text: string) => readWorkbench(parseSearch(text))

  it('leaves defaults out', () => {
    expect(withoutDefaults({ n: 1, rank: 'effect', cond: 'none', at: [-1, -1], a: [], k: 10 })).toEqual({})
  })

  it('keeps valid values', () => {
    expect(read('?a=~Woods&cond=a&at=-1&at=3&t=0.2').search).toEqual({
      a: ['~Woods'],
      cond: 'a',
      at: [-1, 3],
      t: 0.2,
    })
  })

  it.each([
    ['?t=2', /“t=2” is not a number from 0 to 1/],
    ['?cond=x', /not one of none, a, b, ab/],
    ['?a=nonsense', /not a component or a group/],
    ['?a=x:1;9', /strengths are from −2 to 3/],
    ['?p=~x', /not a prompt/],
    ['?n=1.5', /whole number/],
    ['?open=first', /should be all, none, or layers/],
  ])('%s gets a message and the default value', (text, sentence) => {
    const { search, problems } = read(text)
    expect(problems.join()).toMatch(sentence)
    expect(stringifySearch({ ...search })).toBe('')
  })
})

describe('sparse importances', () => {
  const answer = {
    tokens: [
      { id: 1, piece: 'T' },
      { id: 2, piece: ' Woods' },
    ],
    sites: ['layers.0.mlp.up_proj', 'layers.0.mlp.down_proj', 'layers.1.mlp.up_proj'],
    site: [0, 1, 1, 2],
    position: [1, 1, 0, 0],
    component: [4, 7, 8, 4],
    ci: [0.5, 0.9, 0.05, 0.3],
    inner_activation: [1, -2, 3, 4],
  } as unknown as Importances
  const index = indexImportances(answer)

  it('a folded layer shows the largest CI, or how many lie above the threshold', () => {
    const rows = gridRows(index.sites, () => false)
    expect(rows.map((row) => row.id)).toEqual(['L0', 'L1'])
    expect([...gridValues(index, rows, 'max', 0.1)]).toEqual([0, 0.9, 0.3, 0].map(Math.fround))
    expect([...gridValues(index, rows, 'count', 0.1)]).toEqual([0, 2, 1, 0])
  })

  it('an open layer is followed by its sites', () => {
    expect(gridRows(index.sites, (layer) => layer === 1).map((row) => row.id)).toEqual([
      'L0',
      'L1',
      'layers.1.mlp.up_proj',
    ])
  })

  it('the components at a selection come in the order of their CI', () => {
    const keys = (sites: string[] | null, position: number | null) =>
      matchSelection(index, sites, position, 0.1).map((match) => match.trace.key)
    expect(keys(null, 1)).toEqual(['layers.0.mlp.down_proj:7', 'layers.0.mlp.up_proj:4'])
    expect(keys(['layers.1.mlp.up_proj'], null)).toEqual(['layers.1.mlp.up_proj:4'])
  })
})

const shift = (
  token: string,
  id: number,
  before: [number, number],
  after: [number, number],
): OutputShift => ({
  token,
  token_id: id,
  baseline: { probability: before[0], logit: Math.log(before[0]), rank: before[1] },
  ablated: { probability: after[0], logit: Math.log(after[0]), rank: after[1] },
})
const at = (...top: OutputShift[]): PositionShift => ({ position: 6, kl: 1, top, watched: [] })

describe('the sentence above the table', () => {
  const golf = shift(' golf', 1, [0.325, 1], [0.007, 24])
  const football = shift(' football', 2, [0.03, 9], [0.14, 1])
  it('names the answer, its change, and the token that is now the most likely', () => {
    expect(describeShift(at(golf, football), ' golf', true)).toEqual({
      token: ' golf',
      verb: 'falls',
      before: 0.325,
      after: 0.007,
      first: { token: ' football', probability: 0.14 },
    })
  })
  it('within a tenth of itself a probability stays', () => {
    expect(describeShift(at(shift(' basketball', 3, [0.754, 1], [0.74, 1])), null, true)?.verb).toBe('stays')
  })
  it('claims nothing while nothing is suppressed', () => {
    expect(describeShift(at(golf), ' golf', false)?.verb).toBe('is')
  })
  it('the interaction is the effect of both minus the sum of each', () => {
    const move = (d: number) => shift('x', 1, [1, 1], [Math.exp(d), 1])
    expect(interaction(move(-5), move(-2), move(-1))).toBeCloseTo(-2)
    expect(interaction(move(-5), undefined, move(-1))).toBeNull()
  })
})
