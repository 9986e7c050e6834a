/** The address bar as state: flat strings in, typed values out, and a message for every invalid value. */

export type RawSearch = Record<string, string[]>

export function parseSearch(text: string): RawSearch {
  const raw: RawSearch = {}
  for (const [name, value] of new URLSearchParams(text)) {
    raw[name] = [...(raw[name] ?? []), value]
  }
  return raw
}

export function stringifySearch(search: Record<string, unknown>): string {
  const out = new URLSearchParams()
  for (const [name, value] of Object.entries(search)) {
    if (value === undefined || value === null) continue
    for (const one of Array.isArray(value) ? value : [value]) out.append(name, String(one))
  }
  const text = out
    .toString()
    .replaceAll('%3A', ':')
    .replaceAll('%7E', '~')
    .replaceAll('%2C', ',')
    .replaceAll('%40', '@')
  return text === '' ? '' : `?${text}`
}

/** Reads one address, collecting messages about invalid values. */
export class SearchReader {
  readonly problems: string[] = []

  constructor(private readonly raw: Record<string, unknown>) {}

  /** All values of a parameter. A router that re-validates typed values hands them back as they are. */
  all(name: string): string[] {
    const value = this.raw[name]
    if (value === undefined || value === null) return []
    return (Array.isArray(value) ? value : [value]).map(String)
  }

  text(name: string, max = 300): string | undefined {
    const value = this.all(name)[0]
    if (value === undefined || value === '') return undefined
    if (value.length <= max) return value
    this.problems.push(`“${name}” is longer than ${max} characters and was left out.`)
    return undefined
  }

  number(name: string, rule: { min: number; max: number; whole?: boolean }): number | undefined {
    const value = this.all(name)[0]
    if (value === undefined) return undefined
    return this.oneNumber(name, value, rule)
  }

  numbers(name: string, rule: { min: number; max: number; whole?: boolean }): number[] | undefined {
    const values = this.all(name)
    if (values.length === 0) return undefined
    const read = values.map((value) => this.oneNumber(name, value, rule))
    return read.every((value) => value !== undefined) ? read : undefined
  }

  choice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.all(name)[0]
    if (value === undefined) return undefined
    const match = choices.find((choice) => choice === value)
    if (!match)
      this.problems.push(
        `“${name}=${clip(value)}” is not one of ${choices.join(', ')}; the default is shown.`,
      )
    return match
  }

  private oneNumber(name: string, value: string, rule: { min: number; max: number; whole?: boolean }) {
    const number = value.trim() === '' ? Number.NaN : Number(value)
    const fits = Number.isFinite(number) && number >= rule.min && number <= rule.max
    if (fits && (!rule.whole || Number.isInteger(number))) return number
    const kind = rule.whole ? 'a whole number' : 'a number'
    this.problems.push(
      `“${name}=${clip(value)}” is not ${kind} from ${rule.min} to ${rule.max}; the default is shown.`,
    )
    return undefined
  }
}

export const clip = (text: string, max = 60) => (text.length > max ? `${text.slice(0, max)}…` : text)
