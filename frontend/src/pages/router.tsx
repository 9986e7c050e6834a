/** The pages and their addresses. Search parameters are read and checked here, each by its page's own rules. */
import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from '@tanstack/react-router'
import { ROOT } from '@/api/root'
import { validateCircuit } from '@/state/circuit'
import { validateComponent, validateComponents, validateFindings } from '@/state/lists'
import { validateNew } from '@/state/newRun'
import { validatePromptSet } from '@/state/promptSet'
import { parseSearch, stringifySearch } from '@/state/search'
import { validateSignIn } from '@/state/session'
import { validateWorkbench } from '@/state/workbench'
import { Broken, NotFound, Root } from './Root'

const root = createRootRoute({ component: Root, notFoundComponent: NotFound, errorComponent: Broken })

const gallery = createRoute({
  getParentRoute: () => root,
  path: '/',
  component: lazyRouteComponent(() => import('./GalleryPage'), 'GalleryPage'),
})
const overview = createRoute({
  getParentRoute: () => root,
  path: '/d/$id',
  component: lazyRouteComponent(() => import('./OverviewPage'), 'OverviewPage'),
})
const workbench = createRoute({
  getParentRoute: () => root,
  path: '/d/$id/workbench',
  validateSearch: validateWorkbench,
  component: lazyRouteComponent(() => import('./WorkbenchPage'), 'WorkbenchPage'),
})
const components = createRoute({
  getParentRoute: () => root,
  path: '/d/$id/components',
  validateSearch: validateComponents,
  component: lazyRouteComponent(() => import('./ComponentsPage'), 'ComponentsPage'),
})
const evidence = createRoute({
  getParentRoute: () => root,
  path: '/d/$id/evidence',
  component: lazyRouteComponent(() => import('./EvidencePage'), 'EvidencePage'),
})
const component = createRoute({
  getParentRoute: () => root,
  path: '/d/$id/c/$key',
  validateSearch: validateComponent,
  component: lazyRouteComponent(() => import('./ComponentPage'), 'ComponentPage'),
})
const circuit = createRoute({
  getParentRoute: () => root,
  path: '/d/$id/circuit',
  validateSearch: validateCircuit,
  component: lazyRouteComponent(() => import('./CircuitPage'), 'CircuitPage'),
})
const promptSet = createRoute({
  getParentRoute: () => root,
  path: '/d/$id/prompts',
  validateSearch: validatePromptSet,
  component: lazyRouteComponent(() => import('./PromptSetPage'), 'PromptSetPage'),
})
const finding = createRoute({
  getParentRoute: () => root,
  path: '/f/$slug',
  component: lazyRouteComponent(() => import('./FindingPage'), 'FindingPage'),
})
const findings = createRoute({
  getParentRoute: () => root,
  path: '/findings',
  validateSearch: validateFindings,
  component: lazyRouteComponent(() => import('./FindingsPage'), 'FindingsPage'),
})
const collection = createRoute({
  getParentRoute: () => root,
  path: '/collections/$slug',
  component: lazyRouteComponent(() => import('./CollectionPage'), 'CollectionPage'),
})
const jobs = createRoute({
  getParentRoute: () => root,
  path: '/jobs',
  component: lazyRouteComponent(() => import('./JobsPage'), 'JobsPage'),
})
const signIn = createRoute({
  getParentRoute: () => root,
  path: '/sign-in',
  validateSearch: validateSignIn,
  component: lazyRouteComponent(() => import('./SignInPage'), 'SignInPage'),
})
const access = createRoute({
  getParentRoute: () => root,
  path: '/access',
  component: lazyRouteComponent(() => import('./AccessPage'), 'AccessPage'),
})

const newPage = createRoute({
  getParentRoute: () => root,
  path: '/new',
  validateSearch: validateNew,
  component: lazyRouteComponent(() => import('./NewPage'), 'NewPage'),
})

export const router = createRouter({
  routeTree: root.addChildren([
    gallery,
    overview,
    workbench,
    circuit,
    promptSet,
    components,
    component,
    evidence,
    finding,
    findings,
    collection,
    jobs,
    newPage,
    signIn,
    access,
  ]),
  basepath: ROOT || '/',
  parseSearch,
  stringifySearch,
  defaultPreload: 'intent',
  scrollRestoration: true,
})

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router
  }
}
