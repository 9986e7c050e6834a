import '@fontsource-variable/inter/wght.css'
import '@fontsource-variable/jetbrains-mono/wght.css'
import './ui/tokens.css'
import './ui/base.css'
import './ui/ui.css'
import './charts/charts.css'
import './panels/parts.css'
import './pages/pages.css'
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { ApiError } from './api/client'
import { sessionQuery } from './api/session'
import { router } from './pages/router'
import { mustSignIn } from './state/session'
import { followSystemTheme } from './state/theme'

/** Whatever needs a sign-in leads there, and back afterwards. */
const onError = async (error: unknown) => {
  const { pathname, href } = router.state.location
  const ask = () => queryClient.fetchQuery({ ...sessionQuery, staleTime: 0 })
  if (await mustSignIn(error, pathname, ask).catch(() => false))
    await router.navigate({ to: '/sign-in', search: { to: href }, replace: true })
}

const queryClient: QueryClient = new QueryClient({
  queryCache: new QueryCache({ onError }),
  mutationCache: new MutationCache({ onError }),
  defaultOptions: {
    queries: {
      // A request that the server refused would be refused again; only a lost connection is retried.
      retry: (failures, error) =>
        failures < 2 &&
        !(error instanceof ApiError && error.code !== 'offline' && error.code !== 'unreadable'),
      retryDelay: 400,
      refetchOnWindowFocus: false,
      networkMode: 'always',
    },
    mutations: { networkMode: 'always' },
  },
})

followSystemTheme()
const root = document.getElementById('root')
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queryClient}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </StrictMode>,
  )
}
