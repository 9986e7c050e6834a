/** Tables and figures as files. */
import { client, unwrap } from '@/api/client'
import type { Provenance } from '@/api/types'

export type Cell = string | number | boolean | null | undefined | readonly (string | number)[]

export interface Column {
  /** The name of the value, as in the API. */
  key: string
  /** Nats, steps, …: follows the name in the head of the CSV. */
  unit?: string
  /** Whether people typed it: then the CSV is guarded against spreadsheets that would run it as a formula. */
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

/** The table as a file: the server writes it, as it writes all others. A number that is none is an empty cell. */
export function tableFile(
  kind: 'csv' | 'json',
  about: { of: string; name: string; facts: Facts },
  { columns, rows }: TableData,
): Promise<Blob> {
  const facts = Object.fromEntries(Object.entries(about.facts).map(([name, value]) => [name, value ?? null]))
  const body = {
    ...about,
    facts,
    columns: columns.map(({ key, unit = null, typed = false }) => ({ key, unit, typed })),
    rows: rows.map((row) => columns.map(({ key }) => copied(row[key]))),
  }
  return unwrap(client.POST('/api/tables.{kind}', { params: { path: { kind } }, body, parseAs: 'blob' }))
}

function copied(cell: Cell) {
  return Array.isArray(cell) ? [...cell] : ((cell as Exclude<Cell, readonly unknown[]>) ?? null)
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
