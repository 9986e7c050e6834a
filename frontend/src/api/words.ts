/** How values of the API are displayed: the same words and the same rounding on every page. */

const MINUS = '−'
const SHORT: Record<string, string> = {
  self_attn: 'attn',
  q_proj: 'q',
  k_proj: 'k',
  v_proj: 'v',
  o_proj: 'o',
  gate_proj: 'gate',
  up_proj: 'up',
  down_proj: 'down',
}
const LAYER = /(?:^|\.)(?:layers|h|blocks)\.(\d+)(?:\.|$)/

/** The layer a site lies in, from 0; null for a site outside the blocks. */
export function layerOf(site: string): number | null {
  const match = LAYER.exec(site)
  return match?.[1] === undefined ? null : Number(match[1])
}

/** `model.layers.0.mlp.down_proj` → `L0 mlp.down`, as the server's `short_name`. */
export function shortSite(site: string): string {
  const match = LAYER.exec(site)
  if (!match) return site.replace(/^model\./, '').replace(/^transformer\./, '')
  const tail = site.slice(match.index + match[0].length)
  const parts = tail.split('.').filter(Boolean)
  return `L${match[1]} ${parts.map((part) => SHORT[part] ?? part).join('.')}`.trim()
}

/** The part of a short name after its layer: `mlp.down`. */
export function siteTail(site: string): string {
  return shortSite(site).replace(/^L\d+ /, '')
}

export function splitKey(key: string): { site: string; index: number } {
  const at = key.lastIndexOf(':')
  return { site: key.slice(0, at), index: Number(key.slice(at + 1)) }
}

/** `model.layers.0.mlp.down_proj:11` → `L0 mlp.down:11`. */
export function shortKey(key: string): string {
  const { site, index } = splitKey(key)
  return `${shortSite(site)}:${index}`
}

/** A label for narrow places: of an automatic one, the tokens that the component fires on. */
export function shortLabel(label: string): string {
  const match = /^fires (?:on (.*?)|weakly|where no token predicts it)(?: · writes .*)?$/.exec(label)
  return match ? (match[1] ?? '') : label
}

/** From this F1 on a label is taken to predict where its component fires. */
const PREDICTS = 0.5

/** Whether a label may stand as it is: it predicts firing, or nothing is known about that. */
export const predicts = (f1: number | null | undefined): boolean => typeof f1 !== 'number' || f1 >= PREDICTS

/** A piece of text with its whitespace made visible: ␣ for a space, ↵ for a newline, ⇥ for a tab. */
export function visible(piece: string): string {
  if (piece === '') return '∅'
  return piece.replaceAll(' ', '␣').replaceAll('\n', '↵').replaceAll('\t', '⇥').replaceAll('\r', '␍')
}

function power(value: number, digits: number): string {
  const [mantissa, exponent] = value.toExponential(digits).split('e')
  return `${mantissa}e${Number(exponent)}`
}

/** Hundredths to two significant digits, and to one decimal from 10 on: `0.62`, `7.5`, `32.5`. */
function hundredths(share: number): string {
  const value = share * 100
  return value >= 9.95 ? value.toFixed(1) : value.toPrecision(2)
}

/** A probability, or another share from 0 to 1, in percent: `32.5 %`, `0.62 %`, `< 0.001 %`. */
export function probability(p: number): string {
  if (p <= 0) return '0 %'
  if (p < 1e-5) return '< 0.001 %'
  if (p < 1 && p >= 0.9995) return '> 99.9 %'
  return `${hundredths(p)} %`
}

/** A difference of probabilities in percentage points, with its sign and without its unit: `+11.1`, `−0.24`, `0`. */
export function probabilityChange(d: number): string {
  const size = Math.abs(d)
  return size < 1e-5 ? '0' : `${d < 0 ? MINUS : '+'}${hundredths(size)}`
}

/** A difference with its sign and a true minus; what rounds to nothing is `0.0`. */
export function signed(d: number, digits = 1): string {
  const text = Math.abs(d).toFixed(digits)
  if (Number(text) === 0) return text
  return `${d < 0 ? MINUS : '+'}${text}`
}

/** Rounding in float32 leaves a KL uncertain by about this much, nats: below it, also below 0, there is only a bound. */
const KL_ROUNDING = 1e-7

/** A KL in nats, without its unit: `1.84`, `0.013`, `3.1e-5`; never 0, since that is not measured: `< 1e-7`. */
export function nats(x: number): string {
  if (Math.abs(x) < KL_ROUNDING) return `< ${power(KL_ROUNDING, 0)}`
  if (x < 0) return `≤ ${power(-x, 0)}`
  if (x < 1e-3) return power(x, 1)
  return x >= 10 ? x.toFixed(1) : x >= 0.1 ? x.toFixed(2) : x.toFixed(3)
}

/** A measured figure with the rule of its unit: a KL as `nats`, everything else as `figure`. */
export function measured(x: number | null | undefined, unit: string): string {
  return unit === 'nats' && x !== null && x !== undefined ? nats(x) : figure(x)
}

/** A causal importance or another number between 0 and 1 in a narrow place: `.98`, `1`. */
export function unit(v: number): string {
  if (v >= 0.995) return '1'
  if (v > 0 && v < 0.005) return '<.01'
  return v.toFixed(2).replace(/^0/, '')
}

/** Any measured figure: enough digits to compare, powers of ten where they help. */
export function figure(x: number | null | undefined): string {
  if (x === null || x === undefined) return '–'
  const size = Math.abs(x)
  const sign = x < 0 ? MINUS : ''
  if (Number.isInteger(x)) return sign + count(size)
  if (size < 1e-3) return sign + power(size, 1)
  if (size >= 1e4) return sign + count(Math.round(size))
  return (
    sign +
    (size >= 100 ? size.toFixed(0) : size >= 10 ? size.toFixed(1) : Number(size.toPrecision(3)).toString())
  )
}

/** `134515008` → `135M`. */
export function magnitude(n: number): string {
  if (n >= 1e9) return `${Number((n / 1e9).toPrecision(3))}B`
  if (n >= 1e6) return `${Number((n / 1e6).toPrecision(3))}M`
  if (n >= 1e4) return `${Number((n / 1e3).toPrecision(3))}k`
  return count(n)
}

/** A rank: exact below 1000, rounded above (`3.7k`). */
export function rank(n: number): string {
  return n < 1000 ? String(n) : `${Number((n / 1000).toPrecision(2))}k`
}

/** A whole number with the thousands separator of all pages and messages: `134,515,008`. */
export function count(n: number): string {
  return n.toLocaleString('en-US')
}

/** `1 component`, `9 components`. */
export function plural(n: number, word: string, many = `${word}s`): string {
  return `${count(n)} ${n === 1 ? word : many}`
}

export function duration(seconds: number): string {
  if (seconds < 1) return '<1 s'
  if (seconds < 90) return `${Math.round(seconds)} s`
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`
}

export function day(iso: string): string {
  return new Date(iso).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: 'numeric' })
}

export const SPLIT_WORDS = { train: 'trained on', held_out: 'held out', bystander: 'bystander' } as const
