/** Every read of the API as query options. A query key holds everything the response depends on, so a stale response is never shown for a new request. */
import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query'
import { client, unwrap, withDefaults } from './client'
import type {
  AblationRequest,
  CircuitQuestion,
  CircuitRequest,
  ComponentRow,
  ComponentSort,
  ImportancesRequest,
  Mode,
  Suppression,
  TargetStatus,
} from './types'

export interface PromptBody {
  text?: string
  token_ids?: number[]
  bos: boolean
  /** Read control tokens such as <|endoftext|> as text. */
  plain_text: boolean
}

export interface ComponentFilter {
  q?: string
  site?: string
  sort: ComponentSort
  order: 'asc' | 'desc'
  alive?: boolean
}

export const COMPONENTS_PER_PAGE = 200

const LOADING_STATES: TargetStatus['state'][] = ['fetching', 'converting', 'loading']
const isLoading = (target: TargetStatus) => LOADING_STATES.includes(target.state)

export const queries = {
  health: () =>
    queryOptions({
      queryKey: ['health'],
      queryFn: ({ signal }) => unwrap(client.GET('/api/health', { signal })),
      refetchInterval: ({ state }) => (state.data?.engine.some(isLoading) ? 1000 : 15_000),
    }),

  decompositions: () =>
    queryOptions({
      queryKey: ['decompositions'],
      queryFn: ({ signal }) => unwrap(client.GET('/api/decompositions', { signal })),
      refetchInterval: ({ state }) => (state.data?.items.some((d) => isLoading(d.target)) ? 1500 : 10_000),
    }),

  decomposition: (id: string) =>
    queryOptions({
      queryKey: ['decomposition', id],
      queryFn: ({ signal }) =>
        unwrap(client.GET('/api/decompositions/{id}', { params: { path: { id } }, signal })),
      refetchInterval: ({ state }) => (state.data && isLoading(state.data.target) ? 1000 : false),
    }),

  groups: (id: string) =>
    queryOptions({
      queryKey: ['groups', id],
      queryFn: ({ signal }) =>
        unwrap(client.GET('/api/decompositions/{id}/groups', { params: { path: { id } }, signal })),
      staleTime: Number.POSITIVE_INFINITY,
    }),

  /** Labels of all components that are alive, for the lists beside a prompt. */
  labels: (id: string) =>
    queryOptions({
      queryKey: ['labels', id],
      queryFn: async ({ signal }) => {
        const rows = new Map<string, ComponentRow>()
        let cursor: string | undefined
        for (let page = 0; page < 20; page += 1) {
          const query = { alive: true, limit: 1000, sort: 'key' as const, cursor }
          const answer = await unwrap(
            client.GET('/api/decompositions/{id}/components', { params: { path: { id }, query }, signal }),
          )
          for (const row of answer.items) rows.set(row.key, row)
          if (!answer.next_cursor) break
          cursor = answer.next_cursor
        }
        return rows
      },
      staleTime: Number.POSITIVE_INFINITY,
    }),

  /** One page of the list, by its offset; the pages in view are requested. */
  components: (id: string, filter: ComponentFilter, page: number) =>
    queryOptions({
      queryKey: ['components', id, filter, page],
      queryFn: ({ signal }) =>
        unwrap(
          client.GET('/api/decompositions/{id}/components', {
            params: {
              path: { id },
              query: { ...filter, limit: COMPONENTS_PER_PAGE, offset: page * COMPONENTS_PER_PAGE },
            },
            signal,
          }),
        ),
      staleTime: 30_000,
    }),

  /** A component's page; `view` is the list that determines its neighbours. */
  component: (id: string, key: string, view: ComponentFilter & { harvest?: string }) =>
    queryOptions({
      queryKey: ['component', id, key, view],
      queryFn: ({ signal }) =>
        unwrap(
          client.GET('/api/decompositions/{id}/components/{key}', {
            params: { path: { id, key }, query: view },
            signal,
          }),
        ),
      staleTime: 30_000,
    }),

  labelHistory: (id: string, key: string) =>
    queryOptions({
      queryKey: ['label-history', id, key],
      queryFn: ({ signal }) =>
        unwrap(
          client.GET('/api/decompositions/{id}/components/{key}/labels', {
            params: { path: { id, key } },
            signal,
          }),
        ),
    }),

  tryComponent: (id: string, key: string, text: string, bos: boolean) =>
    queryOptions({
      queryKey: ['try', id, key, text, bos],
      queryFn: ({ signal }) =>
        unwrap(
          client.POST('/api/decompositions/{id}/components/{key}/try', {
            params: { path: { id, key } },
            body: { text, bos, plain_text: false },
            signal,
          }),
        ),
      enabled: text !== '',
      staleTime: Number.POSITIVE_INFINITY,
      placeholderData: keepPreviousData,
    }),

  harvests: (id: string) =>
    queryOptions({
      queryKey: ['harvests', id],
      queryFn: ({ signal }) =>
        unwrap(client.GET('/api/decompositions/{id}/harvests', { params: { path: { id } }, signal })),
    }),

  tokens: (id: string, text: string, bos: boolean, plain = false) =>
    queryOptions({
      queryKey: ['tokens', id, text, bos, plain],
      queryFn: ({ signal }) =>
        unwrap(
          client.POST('/api/decompositions/{id}/tokenize', {
            params: { path: { id } },
            body: { text, bos, plain_text: plain },
            signal,
          }),
        ),
      staleTime: Number.POSITIVE_INFINITY,
      placeholderData: keepPreviousData,
    }),

  importances: (id: string, prompt: PromptBody, ready: boolean) =>
    queryOptions({
      queryKey: ['importances', id, prompt, ready],
      queryFn: ({ signal }) =>
        unwrap(
          client.POST('/api/decompositions/{id}/importances', {
            params: { path: { id } },
            body: withDefaults<ImportancesRequest>({ ...prompt, threshold: 0 }),
            signal,
          }),
        ),
      staleTime: Number.POSITIVE_INFINITY,
      placeholderData: keepPreviousData,
    }),

  ablation: (
    id: string,
    body: PromptBody & {
      components: Suppression[]
      mode: Mode
      remainder: 'on' | 'off'
      top_k: number
      watch: (string | number)[]
      positions: number[] | null
    },
  ) =>
    queryOptions({
      queryKey: ['ablation', id, body],
      queryFn: ({ signal }) =>
        unwrap(
          client.POST('/api/decompositions/{id}/ablations', {
            params: { path: { id } },
            body: withDefaults<AblationRequest>(body),
            signal,
          }),
        ),
      staleTime: Number.POSITIVE_INFINITY,
      placeholderData: keepPreviousData,
    }),

  storedCircuit: (id: string) =>
    queryOptions({
      queryKey: ['stored-circuit', id],
      queryFn: ({ signal }) =>
        unwrap(client.GET('/api/decompositions/{id}/circuit', { params: { path: { id } }, signal })),
      staleTime: Number.POSITIVE_INFINITY,
      retry: false,
    }),

  circuit: (id: string, body: CircuitQuestion) =>
    queryOptions({
      queryKey: ['circuit', id, body],
      queryFn: ({ signal }) =>
        unwrap(
          client.POST('/api/decompositions/{id}/circuits', {
            params: { path: { id } },
            body: withDefaults<CircuitRequest>(body as Partial<CircuitRequest>),
            signal,
          }),
        ),
      staleTime: Number.POSITIVE_INFINITY,
      placeholderData: keepPreviousData,
      retry: false,
    }),

  findings: (filter: { decomposition?: string; q?: string; featured?: boolean }) =>
    infiniteQueryOptions({
      queryKey: ['findings', filter],
      queryFn: ({ signal, pageParam }) =>
        unwrap(
          client.GET('/api/findings', {
            params: { query: { ...filter, limit: 50, cursor: pageParam } },
            signal,
          }),
        ),
      initialPageParam: undefined as string | undefined,
      getNextPageParam: (page) => page.next_cursor ?? undefined,
      placeholderData: keepPreviousData,
    }),

  finding: (slug: string) =>
    queryOptions({
      queryKey: ['finding', slug],
      queryFn: ({ signal }) =>
        unwrap(client.GET('/api/findings/{slug}', { params: { path: { slug } }, signal })),
      staleTime: Number.POSITIVE_INFINITY,
    }),

  collections: () =>
    queryOptions({
      queryKey: ['collections'],
      queryFn: ({ signal }) =>
        unwrap(client.GET('/api/collections', { params: { query: { limit: 200 } }, signal })),
    }),

  collection: (slug: string) =>
    queryOptions({
      queryKey: ['collection', slug],
      queryFn: ({ signal }) =>
        unwrap(client.GET('/api/collections/{slug}', { params: { path: { slug } }, signal })),
      staleTime: Number.POSITIVE_INFINITY,
    }),

  presets: () =>
    queryOptions({
      queryKey: ['presets'],
      queryFn: ({ signal }) => unwrap(client.GET('/api/jobs/presets', { signal })),
      staleTime: Number.POSITIVE_INFINITY,
    }),

  jobs: () =>
    queryOptions({
      queryKey: ['jobs'],
      queryFn: ({ signal }) => unwrap(client.GET('/api/jobs', { signal })),
      refetchInterval: ({ state }) =>
        state.data?.items.some((job) => job.state === 'running' || job.state === 'queued') ? 3000 : 10_000,
    }),

  job: (id: string, active: boolean) =>
    queryOptions({
      queryKey: ['job', id],
      queryFn: ({ signal }) => unwrap(client.GET('/api/jobs/{id}', { params: { path: { id } }, signal })),
      refetchInterval: active ? 2000 : false,
    }),
}
