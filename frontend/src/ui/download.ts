/** Tables as files: CSV with full precision and units in its heads, and JSON with the same content. */
import type { Provenance } from '@/api/types'

export type Cell = string | number | boolean | null | undefined | readonly (string | number)[]

export interface Column {
  /** The name of the value, as in the API. */
  key: string
  /** Nats, steps, …: follows the name in the head of the CSV. */
  unit?: string
  /** Whether people typed it: then it is escaped, so that a spreadsheet does not run it as a formula. */
  typed?: boolean
}

export interface TableData {
  columns: Column[]
  rows: Record<string, Cell>[]
}

/** The provenance: a comment line of the CSV, a key of the JSON, the foot of a figure. */
export type Facts = Record<string, string | number | null | undefined>

/** The provenance as facts of a file. */
export function provenanceFacts(from: Provenance): Facts {
  const { decomposition, artifact_hash, weights_hash, model, dtype, device, threshold, versions } = from
  return {
    decomposition,
    artifact: artifact_hash,
    weights: weights_hash,
    model,
    dtype,
    device,
    threshold,
    unweave: versions.unweave,
  }
}

/** `"a, b"`: quoted where a comma, a quote, a line end, a space at its ends or the sign of a comment asks for it. */
function csvCell(value: Cell, typed = false): string {
  if (value === null || value === undefined) return ''
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : ''
  if (typeof value === 'boolean') return String(value)
  const plain = typeof value === 'string' ? value : JSON.stringify(value)
  const text = typed && /^[=+\-@\t\r]/.test(plain) ? `'${plain}` : plain
  return /[",\r\n#]|^\s|\s$|^$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** The table as CSV; its first line is a comment with the provenance. */
export function toCsv({ columns, rows }: TableData, facts: Facts = {}): string {
  const known = Object.entries(facts).filter(([, value]) => value !== null && value !== undefined)
  const comment = known.map(([name, value]) => `${name}=${String(value).replace(/[\r\n]+/g, ' ')}`).join('; ')
  const head = columns.map(({ key, unit }) => csvCell(unit ? `${key} [${unit}]` : key)).join(',')
  const lines = rows.map((row) => columns.map(({ key, typed }) => csvCell(row[key], typed)).join(','))
  return `${[...(comment ? [`# ${comment}`] : []), head, ...lines].join('\n')}\n`
}

/** The same as JSON: `{provenance, columns, rows}`; a list stays a list. */
export function toJson({ columns, rows }: TableData, facts: Facts = {}): string {
  const own = rows.map((row) => Object.fromEntries(columns.map(({ key }) => [key, row[key] ?? null])))
  const heads = columns.map(({ key, unit }) => ({ key, unit: unit ?? null }))
  return `${JSON.stringify({ provenance: facts, columns: heads, rows: own }, null, 1)}\n`
}

/** `induction_evidence.csv`: what it is of and what it is, in characters that every system accepts. */
export function fileName(of: string, name: string, ending: string): string {
  const safe = (text: string) =>
    text
      .replace(/[^\p{L}\p{N}.-]+/gu, '-')
      .replace(/^[-.]+|[-.]+$/g, '')
      .slice(0, 80)
  return `${[safe(of), safe(name)].filter(Boolean).join('_')}.${ending}`
}

/** Downloads a file under that name. */
export function save(name: string, content: Blob): void {
  const address = URL.createObjectURL(content)
  const link = document.createElement('a')
  link.href = address
  link.download = name
  document.body.append(link)
  link.click()
  link.remove()
  setTimeout(() => URL.revokeObjectURL(address), 10_000)
}
