import { Link } from '@tanstack/react-router'
import type { DecompositionSummary, FindingSummary, TargetStatus } from '@/api/types'
import { count, magnitude, measured } from '@/api/words'
import { Thumb } from '@/charts/Thumb'
import { Progress } from '@/ui/surfaces'
import './gallery.css'

export function DecompositionCard({
  decomposition: d,
  findings,
}: {
  decomposition: DecompositionSummary
  findings: FindingSummary[]
}) {
  return (
    <article className="panel card" aria-label={d.title}>
      {d.thumbnail && (
        <Link
          to="/d/$id/workbench"
          params={{ id: d.id }}
          className="card-thumb"
          tabIndex={-1}
          aria-hidden="true"
        >
          <Thumb thumbnail={d.thumbnail} />
        </Link>
      )}
      <div className="card-body">
        <div className="card-head">
          <h2>
            <Link to="/d/$id" params={{ id: d.id }}>
              {d.title}
            </Link>
          </h2>
          <Weights target={d.target} />
        </div>
        <p className="soft">{d.description}</p>
        <p className="card-facts small">
          <span className="mono">{d.id}</span>
          <span>{d.model.name}</span>
          <span>{magnitude(d.model.parameters)} parameters</span>
          <span>{count(d.sites)} matrices</span>
          <span>
            <b>{count(d.alive)}</b> of {count(d.components)} subcomponents alive
          </span>
          {d.model.license && <span>{d.model.license}</span>}
          {d.tags.map((tag) => (
            <span key={tag} className="badge">
              {tag}
            </span>
          ))}
        </p>
        <dl className="headlines">
          {d.headlines.map((headline) => (
            <div key={headline.label} className={headline.status}>
              <dt>{headline.label}</dt>
              <dd>
                <b className="num">{measured(headline.value, headline.unit)}</b>{' '}
                <span className="small soft">{headline.unit}</span>
                {headline.status === 'weak' && <span className="badge weak">weak</span>}
              </dd>
            </div>
          ))}
        </dl>
        <details className="card-meaning small soft">
          <summary>What these figures mean</summary>
          {d.headlines.map((headline) => (
            <p key={headline.label}>
              <b>{headline.label}:</b> {headline.explain}
            </p>
          ))}
        </details>
        {findings.length > 0 && (
          <div className="card-findings">
            {findings.map((finding) => (
              <Link key={finding.slug} to="/f/$slug" params={{ slug: finding.slug }} className="finding-link">
                <b>{finding.title}</b>
                {finding.summary.slice(0, 2).map((sentence) => (
                  <span key={sentence} className="small soft">
                    {sentence}
                  </span>
                ))}
              </Link>
            ))}
          </div>
        )}
        <div className="row">
          <Link to="/d/$id/workbench" params={{ id: d.id }} className="btn primary">
            Open the workbench
          </Link>
          <Link to="/d/$id" params={{ id: d.id }} className="btn">
            How good is it?
          </Link>
          <Link to="/d/$id/components" params={{ id: d.id }} className="btn quiet">
            Components
          </Link>
        </div>
      </div>
    </article>
  )
}

const STATES: Record<TargetStatus['state'], { words: string; tone: string }> = {
  ready: { words: 'weights ready', tone: 'good' },
  absent: { words: 'weights fetched on first use', tone: '' },
  fetching: { words: 'fetching weights', tone: 'accent' },
  converting: { words: 'converting weights', tone: 'accent' },
  loading: { words: 'loading weights', tone: 'accent' },
  failed: { words: 'weights failed to load', tone: 'bad' },
}

function Weights({ target }: { target: TargetStatus }) {
  const { words, tone } = STATES[target.state]
  const percent = typeof target.progress === 'number' ? ` ${Math.round(target.progress * 100)} %` : ''
  const onTheWay = tone === 'accent'
  return (
    <span className="weights">
      <span className={`badge ${tone}`}>
        {words}
        {onTheWay && percent}
      </span>
      {onTheWay && <Progress value={target.progress ?? null} label={words} />}
      {target.state === 'failed' && target.message && <span className="small soft">{target.message}</span>}
    </span>
  )
}
