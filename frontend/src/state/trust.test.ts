import { describe, expect, it } from 'vitest'
import type { Trust } from '@/api/types'
import { trustFacts, trustFigure } from './trust'

const trust = (changes: Partial<Trust>) =>
  ({
    level: 'good',
    counted: 'all',
    kl: 0.0405,
    kl_off: 27.7,
    kl_rest: null,
    fires: 9,
    fires_per_position: 3,
    ...changes,
  }) as Trust

describe('how far a prompt is described', () => {
  it('is a KL beside the one with everything off, with the positions and the state of the remainder', () => {
    expect(trustFigure(trust({}))).toBe('KL 0.041 of 27.7 nats, remainder off')
    expect(trustFigure(trust({ counted: 'last', kl: 0 }))).toBe(
      'KL < 1e-7 of 27.7 nats at the last position, remainder off',
    )
  })

  it('is, outside what the run is about, how few components fire and what they change', () => {
    expect(trustFigure(trust({ level: 'outside', fires: 0 }))).toBe('nothing fires')
    expect(
      trustFigure(trust({ level: 'outside', fires: 2, fires_per_position: 0.754, kl_rest: 0.003 })),
    ).toBe('0.75 fire per position, KL 0.003 nats, remainder on')
  })

  it('goes into files for every prompt whose figure is known', () => {
    expect(
      trustFacts([
        { name: 'Prompt 1', trust: { data: trust({}) } },
        { name: 'Prompt 2', trust: { data: undefined } },
        { name: 'Prompt 3', trust: { data: trust({ level: 'not', kl: 35, kl_off: 18.4 }) } },
      ]),
    ).toEqual({
      'Prompt 1': 'described: KL 0.041 of 27.7 nats, remainder off',
      'Prompt 3': 'not described: KL 35.0 of 18.4 nats, remainder off',
    })
  })
})
