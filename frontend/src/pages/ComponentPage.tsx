import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams } from '@tanstack/react-router'
import { queries } from '@/api/queries'
import type { ComponentDetail } from '@/api/types'
import { figure, SPLIT_WORDS, shortKey } from '@/api/words'
import { Legend } from '@/charts/Legend'
import { TokenShade } from '@/charts/TokenShade'
import { encodeEntry } from '@/state/basket'
import { useTitle } from '@/state/hooks'
import { useShortcuts } from '@/state/shortcuts'
import { Icon } from '@/ui/Icon'
import { Piece } from '@/ui/Piece'
import { Empty, Panel, Skeleton } from '@/ui/surfaces'
import { LoadFailed } from './Root'

export function ComponentPage() {
  const { id, key } = useParams({ from: '/d/$id/c/$key' })
  const query = useQuery(queries.component(id, key))
  useTitle(shortKey(key))
  if (query.data) return <Component id={id} c={query.data} />
  if (query.error) return <LoadFailed error={query.error} retry={() => query.refetch()} />
  return (
    <div className="page">
      <Skeleton height={110} label="Loading the component" />
      <Skeleton height={320} />
    </div>
  )
}

function Component({ id, c }: { id: string; c: ComponentDetail }) {
  const navigate = useNavigate()
  const go = (key: string | null | undefined) =>
    key && void navigate({ to: '/d/$id/c/$key', params: { id, key } })
  useShortcuts({ j: () => go(c.next), k: () => go(c.previous) })
  const stats: [string, string, string][] = [
    ['max CI', figure(c.max_ci), 'the most it ever matters'],
    ['mean CI', figure(c.mean_ci), 'over all positions harvested'],
    ['density', `${(c.density * 100).toFixed(1)} %`, 'of positions above the threshold'],
    ['‖V‖·‖U‖', figure(c.write_norm), 'size of the rank-1 matrix'],
  ]
  return (
    <div className="page">
      <div className="page-head">
        <div>
          <p className="crumbs small">
            <Link to="/d/$id/components" params={{ id }}>
              Components
            </Link>{' '}
            / <span className="mono">{c.key}</span>
          </p>
          <h1>{c.label || shortKey(c.key)}</h1>
          <p className="row soft">
            <span className="mono">{shortKey(c.key)}</span>
            <span className={`badge ${c.alive ? 'good' : ''}`}>{c.alive ? 'alive' : 'dead'}</span>
            {c.groups.map((group) => (
              <span key={group} className="badge accent">
                group {group}
              </span>
            ))}
          </p>
        </div>
        <span className="row">
          {c.previous && (
            <Link
              to="/d/$id/c/$key"
              params={{ id, key: c.previous }}
              className="btn"
              aria-label="Previous component"
            >
              <Icon name="left" /> <kbd>k</kbd>
            </Link>
          )}
          {c.next && (
            <Link to="/d/$id/c/$key" params={{ id, key: c.next }} className="btn" aria-label="Next component">
              <kbd>j</kbd> <Icon name="right" />
            </Link>
          )}
          <Link
            to="/d/$id/workbench"
            params={{ id }}
            search={{
              a: [encodeEntry({ kind: 'component', name: c.key, strength: 1, positions: null })],
              row: c.site,
            }}
            className="btn primary"
          >
            Send to the workbench
          </Link>
        </span>
      </div>
      <dl className="stats">
        {stats.map(([name, value, words]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd className="num">{value}</dd>
            <dd className="small soft">{words}</dd>
          </div>
        ))}
      </dl>
      <div className="two-cols">
        <Tokens title="Fires on" words="tokens at which its CI is highest" tokens={c.top_tokens} />
        {c.reads.length > 0 && (
          <Tokens title="Reads" words="tokens whose embedding it reads most strongly" tokens={c.reads} />
        )}
        {c.writes.length > 0 && (
          <Tokens title="Writes" words="tokens its write direction promotes most" tokens={c.writes} />
        )}
      </div>
      <Panel
        title="Where it matters"
        aside="the run’s own prompts"
        tools={<Legend show="max" scale="linear" top={1} threshold={0} />}
      >
        {c.examples.length === 0 && <Empty title="No prompt of the run uses it" />}
        <ul className="examples">
          {c.examples.map((example, i) => (
            <li key={i}>
              <TokenShade tokens={example.tokens} ci={example.ci} activation={example.inner_activation} />
              <span className="badge">{SPLIT_WORDS[example.split]}</span>
            </li>
          ))}
        </ul>
      </Panel>
    </div>
  )
}

function Tokens({ title, words, tokens }: { title: string; words: string; tokens: string[] }) {
  return (
    <Panel title={title} aside={words}>
      <div className="pad chips">
        {tokens.map((token, i) => (
          <span key={i} className="badge">
            <Piece text={token} />
          </span>
        ))}
        {tokens.length === 0 && <span className="soft small">none</span>}
      </div>
    </Panel>
  )
}
