import { afterEach, expect, it, vi } from 'vitest'
import { client } from '@/api/client'
import { fileName, tableFile } from './download'
import { covers } from './picture'

afterEach(() => vi.restoreAllMocks())

it('a table is sent to the server with its cells in the order of the columns, and the file comes back', async () => {
  const answer = { data: new Blob(['# a file']), response: new Response() }
  const post = vi.spyOn(client, 'POST').mockResolvedValue(answer as never)
  const file = await tableFile(
    'csv',
    { of: 'tiny', name: 'shift', facts: { threshold: 0.1, device: undefined } },
    {
      columns: [
        { key: 'kl', unit: 'nats' },
        { key: 'title', typed: true },
      ],
      rows: [{ title: '=1', kl: [1, 2] }, { kl: 0.1234567890123456 }],
    },
  )
  expect(file).toBe(answer.data)
  expect(post).toHaveBeenCalledWith('/api/tables.{kind}', {
    params: { path: { kind: 'csv' } },
    body: {
      of: 'tiny',
      name: 'shift',
      facts: { threshold: 0.1, device: null },
      columns: [
        { key: 'kl', unit: 'nats', typed: false },
        { key: 'title', unit: null, typed: true },
      ],
      rows: [
        [[1, 2], '=1'],
        [0.1234567890123456, null],
      ],
    },
    parseAs: 'blob',
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
