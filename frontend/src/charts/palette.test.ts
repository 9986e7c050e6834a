import { describe, expect, it } from 'vitest'
import { level, luminance, makePalette, readableOn } from './palette'

const LIGHT = ['#f3f1ea', '#d2e3db', '#9ac8c1', '#58a2a5', '#237480', '#0a4450']
const DARK = ['#1b2229', '#1c3b43', '#1f5b65', '#2c858f', '#53b6bf', '#a8f0f4']
const rgb = (text: string) => (text.match(/\d+/g) ?? []).map(Number) as [number, number, number]

describe.each([
  ['light', LIGHT, -1],
  ['dark', DARK, 1],
])('the scale of causal importance, %s', (_, stops, direction) => {
  const { ramp } = makePalette(stops)
  const lightness = ramp.map((colour) => luminance(rgb(colour)))

  it('changes its lightness in one direction only, so that it is readable without colours', () => {
    const steps = lightness.slice(1).map((value, i) => (value - (lightness[i] ?? 0)) * direction)
    expect(Math.min(...steps)).toBeGreaterThan(-1e-3)
  })

  it('carries digits at 4.5 : 1 or more on every tone', () => {
    for (const colour of ramp) {
      const l = luminance(rgb(colour))
      const contrast = readableOn(rgb(colour)) === '#000000' ? (l + 0.05) / 0.05 : 1.05 / (l + 0.05)
      expect(contrast).toBeGreaterThanOrEqual(4.5)
    }
  })
})

describe('where a value lies on the scale', () => {
  it.each([
    [0, 'linear', 0],
    [0.5, 'linear', 128],
    [1, 'linear', 255],
    [1e-3, 'log', 0],
    [1, 'log', 255],
    [Math.sqrt(1e-3), 'log', 128],
  ] as const)('%s, %s, is at %s', (value, scale, at) => expect(level(value, scale)).toBe(at))

  it('counts are measured against the largest', () => expect(level(5, 'linear', 10)).toBe(128))
})
