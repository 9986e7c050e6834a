import { useQuery } from '@tanstack/react-query'
import { Link, Outlet, useMatchRoute, useParams, useRouter } from '@tanstack/react-router'
import { useRef, useState } from 'react'
import { ApiError, sentenceOf } from '@/api/client'
import { queries } from '@/api/queries'
import { useSession } from '@/state/session'
import { focusSearch, SHORTCUTS, useShortcuts } from '@/state/shortcuts'
import { useTheme } from '@/state/theme'
import { TOUR_OF } from '@/state/tour'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { RoleContext } from '@/ui/role'
import { Dialog } from '@/ui/surfaces'
import { Masthead } from './Masthead'

/** The frame of every page: header, skip link, and the keys that work everywhere. */
export function Root() {
  const [help, setHelp] = useState(false)
  const [theme, setTheme] = useTheme()
  const router = useRouter()
  const { id: own, slug } = useParams({ strict: false })
  const isFinding = useMatchRoute()({ to: '/f/$slug' }) !== false
  // A finding's page shows the tabs of its decomposition.
  const finding = useQuery({ ...queries.finding(slug ?? ''), enabled: isFinding && slug !== undefined })
  const id = own ?? (isFinding ? finding.data?.decomposition : undefined)
  const lastG = useRef(0)
  const flip = () => setTheme(theme === 'dark' ? 'light' : 'dark')
  const after = (go: () => void) => (event: KeyboardEvent) => {
    if (event.timeStamp - lastG.current > 900) return false
    lastG.current = 0
    go()
  }
  useShortcuts({
    '?': () => setHelp(true),
    '/': () => focusSearch(),
    t: flip,
    g: (event) => {
      const twice = event.timeStamp - lastG.current < 900
      lastG.current = twice ? 0 : event.timeStamp
      if (twice) void router.navigate({ to: '/' })
    },
    f: after(() => void router.navigate({ to: '/findings' })),
    j: after(() => void router.navigate({ to: '/jobs' })),
  })
  const session = useSession()
  return (
    <RoleContext value={session ? session.role : 'admin'}>
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <Masthead id={id} theme={theme} onTheme={flip} onHelp={() => setHelp(true)} />
      <main id="main" tabIndex={-1}>
        <Outlet />
      </main>
      <Dialog open={help} onOpenChange={setHelp} title="Keys">
        <p className="help-tour">
          <Link
            to="/d/$id/workbench"
            params={{ id: TOUR_OF }}
            search={{ tour: 1 }}
            onClick={() => setHelp(false)}
          >
            Take the tour
          </Link>{' '}
          <span className="soft">
            two minutes: what a subcomponent is, what causal importance means, what suppression does
          </span>
        </p>
        {SHORTCUTS.map((section) => (
          <section key={section.where} className="keys">
            <h3>{section.where}</h3>
            <dl>
              {section.keys.map((key) => (
                <div key={key.keys}>
                  <dt>
                    {key.keys.split(' ').map((one) => (
                      <kbd key={one}>{one}</kbd>
                    ))}
                  </dt>
                  <dd>{key.what}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </Dialog>
    </RoleContext>
  )
}

export function NotFound() {
  return (
    <div className="page center">
      <h1>Page not found</h1>
      <p className="soft">The address may be mistyped, or the page has been removed.</p>
      <p>
        <Link to="/">Go to the gallery</Link>
      </p>
    </div>
  )
}

export function Broken({ error, reset }: { error: unknown; reset: () => void }) {
  return (
    <div className="page center" role="alert">
      <h1>This page could not be displayed</h1>
      <p className="soft">{sentenceOf(error)}</p>
      <p className="row center">
        <Button kind="primary" onClick={reset}>
          Try again
        </Button>
        <Link className="btn" to="/">
          Go to the gallery
        </Link>
      </p>
    </div>
  )
}

/** A page that could not be loaded: the error, and links to other pages. */
export function LoadFailed({ error, retry }: { error: unknown; retry: () => void }) {
  const unknown = error instanceof ApiError && error.status === 404
  return (
    <div className="page center" role="alert">
      <h1>{unknown ? 'Not found' : 'This could not be loaded'}</h1>
      <p className="soft">{sentenceOf(error)}</p>
      <p className="row center">
        {!unknown && (
          <Button kind="primary" onClick={retry}>
            <Icon name="again" /> Try again
          </Button>
        )}
        <Link className="btn" to="/">
          Go to the gallery
        </Link>
        <Link className="btn" to="/findings">
          Browse the findings
        </Link>
      </p>
    </div>
  )
}
