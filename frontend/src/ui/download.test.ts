import { describe, expect, it } from 'vitest'
import { fileName, toCsv, toJson } from './download'
import { covers } from './picture'

const TABLE = {
  columns: [{ key: 'token' }, { key: 'kl', unit: 'nats' }, { key: 'title', typed: true }],
  rows: [
    { token: ' golf', kl: 0.1234567890123456, title: '=SUM(A1)' },
    { token: 'a,"b"\n#', kl: null, title: 'plain' },
    { token: '', kl: Number.NaN, title: '-1' },
  ],
}

describe('a table as CSV', () => {
  it('names units in its head, preserves every digit, and quotes what would break a line', () => {
    expect(toCsv(TABLE)).toBe(
      'token,kl [nats],title\n" golf",0.1234567890123456,\'=SUM(A1)\n"a,""b""\n#",,plain\n"",,\'-1\n',
    )
  })

  it('names the provenance in a first comment line', () => {
    expect(toCsv(TABLE, { model: 'x\ny', threshold: 0.1, device: null }).split('\n')[0]).toBe(
      '# model=x y; threshold=0.1',
    )
  })
})

it('a table as JSON has the same content, missing values as null', () => {
  const read = JSON.parse(
    toJson({ columns: [{ key: 'a', unit: 's' }, { key: 'b' }], rows: [{ a: [1, 2] }] }, { m: 1 }),
  )
  expect(read).toEqual({
    provenance: { m: 1 },
    columns: [
      { key: 'a', unit: 's' },
      { key: 'b', unit: null },
    ],
    rows: [{ a: [1, 2], b: null }],
  })
})

it('a file name uses only characters that every system accepts', () => {
  expect(fileName('sports-smollm2', 'L3 mlp.down:11 / ../x', 'csv')).toBe(
    'sports-smollm2_L3-mlp.down-11-..-x.csv',
  )
  expect(fileName('␣Woods', '…', 'svg')).toBe('Woods.svg')
})

it('only fonts that contain a character of the figure are embedded', () => {
  expect(covers('U+0000-00FF, U+2212', 'KL −')).toBe(true)
  expect(covers('U+0370-03FF', 'plain')).toBe(false)
  expect(covers('U+4??', 'Ж')).toBe(true)
})
