/** The sequential scale of causal importance, read from the style sheet, its only definition. */
import { useMemo, useSyncExternalStore } from 'react'

export interface Palette {
  /** 256 colours, low to high. */
  ramp: string[]
  /** For each of them, black or white: whichever can be read on it (at least 4.5 : 1). */
  ink: string[]
  gradient: string
}

type Rgb = [number, number, number]
const STOPS = 6
/** The floor of the logarithmic scale: three powers of ten below the top. */
export const LOG_FLOOR = 1e-3

function parse(colour: string): Rgb {
  const hex = colour.trim().replace('#', '')
  return [0, 2, 4].map((at) => Number.parseInt(hex.slice(at, at + 2), 16) || 0) as Rgb
}

export function luminance([r, g, b]: Rgb): number {
  const linear = (v: number) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4)
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
}

export function readableOn(colour: Rgb): '#000000' | '#ffffff' {
  const l = luminance(colour)
  return (l + 0.05) / 0.05 >= 1.05 / (l + 0.05) ? '#000000' : '#ffffff'
}

export function makePalette(stops: string[]): Palette {
  const colours = stops.map(parse)
  const ramp: string[] = []
  const ink: string[] = []
  for (let i = 0; i < 256; i += 1) {
    const at = (i / 255) * (colours.length - 1)
    const low = colours[Math.floor(at)] ?? [0, 0, 0]
    const high = colours[Math.ceil(at)] ?? low
    const mix = low.map((v, c) => Math.round(v + ((high[c] ?? v) - v) * (at - Math.floor(at)))) as Rgb
    ramp.push(`rgb(${mix.join(' ')})`)
    ink.push(readableOn(mix))
  }
  return { ramp, ink, gradient: `linear-gradient(90deg, ${stops.join(', ')})` }
}

function subscribe(changed: () => void) {
  const observer = new MutationObserver(changed)
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] })
  return () => observer.disconnect()
}

export const themeName = () => document.documentElement.dataset.theme ?? 'light'

/** The palette of the current theme. */
export function usePalette(): Palette {
  const theme = useSyncExternalStore(subscribe, themeName)
  return useMemo(() => {
    void theme
    const style = getComputedStyle(document.documentElement)
    return makePalette(Array.from({ length: STOPS }, (_, i) => style.getPropertyValue(`--ci-${i}`)))
  }, [theme])
}

export function useThemeName(): string {
  return useSyncExternalStore(subscribe, themeName)
}

/** Where a value lies on the ramp, 0–255. `top` is 1 for CI, the largest count for counts. */
export function level(value: number, scale: 'linear' | 'log', top = 1): number {
  if (value <= 0 || top <= 0) return 0
  const v = Math.min(value / top, 1)
  const t = scale === 'linear' ? v : Math.max(0, 1 - Math.log10(v) / Math.log10(LOG_FLOOR))
  return Math.round(t * 255)
}
