/** A run that is being set up: one config, edited by every step of the page. */
import type { ModelView, PromptData, Recipe, Source } from '@/api/types'
import { firstSites } from './sites'

export type Config = Record<string, unknown>
export type DataKind = 'prompts' | 'facts' | 'corpus'
export type Size = 'quick' | 'good' | 'thorough'

/** What of a config is not the method: it stays when another method is chosen. */
const KEPT = ['name', 'title', 'description', 'seed', 'target', 'sites', 'data', 'stored_dtype']

/** `?job=` or `?preset=`: whose config the page begins with. */
export interface NewSearch {
  job?: string
  preset?: string
}

export function validateNew(search: Record<string, unknown>): NewSearch {
  const read = (key: 'job' | 'preset') => {
    const value = search[key]
    return typeof value === 'string' && value !== '' ? { [key]: value.slice(0, 200) } : {}
  }
  return { ...read('job'), ...read('preset') }
}

export function slug(name: string): string {
  const plain = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
  return (plain || 'run').slice(0, 60)
}

export function kindOf(config: Config): DataKind {
  const data = config.data as { kind?: string } | undefined
  return data?.kind === 'facts' || data?.kind === 'corpus' ? data.kind : 'prompts'
}

export function promptsOf(config: Config): PromptData[] {
  const data = config.data as { kind?: string; prompts?: PromptData[] } | undefined
  return data?.kind === 'prompts' ? (data.prompts ?? NONE) : NONE
}

export const bosOf = (config: Config) => valueAt(config, ['data', 'bos']) === true

/** No prompts: one value, so that what depends on it sees no change. */
const NONE: PromptData[] = []

export function withMethod(config: Config, recipe: Recipe | undefined): Config {
  if (!recipe) return config
  const kept = Object.fromEntries(Object.entries(config).filter(([key]) => KEPT.includes(key)))
  return { ...kept, ...recipe.config }
}

/** A config for a model that was just chosen; prompts and method stay, sites are the new model's own. */
export function withModel(config: Config, source: Source, model: ModelView): Config {
  const named = typeof config.name === 'string' && config.name !== ''
  return {
    ...config,
    name: named ? config.name : `${slug(model.name)}-mine`,
    target: source,
    sites: firstSites(model.modules, model.d_model),
  }
}

/** The value at a path such as ['losses', '0', 'coefficient']. */
export function valueAt(config: unknown, path: string[]): unknown {
  return path.reduce<unknown>(
    (at, key) => (typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[key] : undefined),
    config,
  )
}

/** A copy with another value at a path; `undefined` takes the key out. */
export function withValue(config: unknown, path: string[], value: unknown): unknown {
  const [key, ...rest] = path
  if (key === undefined) return value
  if (Array.isArray(config))
    return config.map((item, place) => (String(place) === key ? withValue(item, rest, value) : item))
  const at = (typeof config === 'object' && config !== null ? config : {}) as Record<string, unknown>
  const next = withValue(at[key], rest, value)
  if (next !== undefined) return { ...at, [key]: next }
  return Object.fromEntries(Object.entries(at).filter(([name]) => name !== key))
}
