import { useQuery } from '@tanstack/react-query'
import { Link, useMatch, useRouterState } from '@tanstack/react-router'
import { DropdownMenu } from 'radix-ui'
import { queries } from '@/api/queries'
import type { Theme } from '@/state/theme'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { VisitorMenu } from './VisitorMenu'

export function Masthead(props: {
  id: string | undefined
  theme: Theme
  onTheme: () => void
  onHelp: () => void
}) {
  const { id } = props
  const component = useMatch({ from: '/d/$id/c/$key', shouldThrow: false }) !== undefined
  const prompt = useRouterState({ select: ({ location }) => promptOf(location.pathname, location.search) })
  return (
    <header className="masthead">
      <Link to="/" className="logo" aria-label="Unweave, gallery">
        <Mark />
        un<i>weave</i>
      </Link>
      {id && <Picker id={id} />}
      <nav aria-label="Pages">
        {id ? (
          <>
            <Link to="/d/$id" params={{ id }} activeOptions={{ exact: true }} className="tab">
              Overview
            </Link>
            <Link to="/d/$id/workbench" params={{ id }} className="tab">
              Workbench
            </Link>
            <Link
              to="/d/$id/circuit"
              params={{ id }}
              search={prompt === undefined ? {} : { p: prompt }}
              activeOptions={{ includeSearch: false }}
              className="tab"
            >
              Circuit
            </Link>
            <Link
              to="/d/$id/components"
              params={{ id }}
              className={`tab ${component ? 'active' : ''}`}
              aria-current={component ? 'true' : undefined}
            >
              Components
            </Link>
            <Link to="/d/$id/evidence" params={{ id }} className="tab">
              Evidence
            </Link>
          </>
        ) : (
          <Link to="/" activeOptions={{ exact: true }} className="tab">
            Gallery
          </Link>
        )}
        <Link to="/findings" className="tab">
          Findings
        </Link>
        <Link to="/jobs" className="tab">
          Jobs
        </Link>
      </nav>
      <span className="grow" />
      <span className="masthead-tools">
        <VisitorMenu />
        <Button
          kind="quiet"
          icon
          aria-label={props.theme === 'dark' ? 'Light theme' : 'Dark theme'}
          onClick={props.onTheme}
        >
          <Icon name={props.theme === 'dark' ? 'sun' : 'moon'} />
        </Button>
        <Button kind="quiet" icon aria-label="Keys and help" onClick={props.onHelp}>
          ?
        </Button>
      </span>
    </header>
  )
}

/** The current prompt of the workbench or of a circuit, so that the circuit opens with it. */
function promptOf(path: string, search: object): string | undefined {
  const { p, n } = search as { p?: string | string[]; n?: number }
  if (!/^\/d\/[^/]+\/(workbench|circuit)$/.test(path) || p === undefined) return undefined
  return Array.isArray(p) ? p[(n ?? 1) - 1] : p
}

function Mark() {
  return (
    <svg viewBox="0 0 24 24" className="mark" aria-hidden="true">
      <path d="M3 6h18M3 12h8M3 18h18" />
      <path className="loose" d="M14.5 12c4 0 1.5 3 6 3" />
    </svg>
  )
}

/** The current decomposition, and a menu of the others. */
function Picker({ id }: { id: string }) {
  const list = useQuery(queries.decompositions())
  return (
    <DropdownMenu.Root>
      <DropdownMenu.Trigger asChild>
        <button type="button" className="picker" aria-label={`Decomposition ${id}, choose another`}>
          <span>{id}</span> <Icon name="down" />
        </button>
      </DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content className="menu" align="start" sideOffset={6}>
          {list.data?.items.map((one) => (
            <DropdownMenu.Item key={one.id} asChild>
              <Link to="/d/$id" params={{ id: one.id }} className="menu-item">
                <span className="mono">{one.id}</span>
                <br />
                <span className="small soft">{one.title}</span>
              </Link>
            </DropdownMenu.Item>
          ))}
          <DropdownMenu.Item asChild>
            <Link to="/" className="menu-item soft">
              All decompositions
            </Link>
          </DropdownMenu.Item>
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  )
}
