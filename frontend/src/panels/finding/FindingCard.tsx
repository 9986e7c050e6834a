import { Link } from '@tanstack/react-router'
import type { FindingSummary } from '@/api/types'
import { day } from '@/api/words'
import './finding.css'

/** A finding in a list. With `onChoose` it can be selected for a collection. */
export function FindingCard({
  finding,
  chosen,
  onChoose,
}: {
  finding: FindingSummary
  chosen?: boolean
  onChoose?: (chosen: boolean) => void
}) {
  return (
    <article className="panel finding-card">
      <p className="row small faint">
        <span className="mono">{finding.decomposition}</span>
        <span>{day(finding.created_at)}</span>
        {finding.featured && <span className="badge accent">featured</span>}
        {onChoose && (
          <label className="choose">
            <input
              type="checkbox"
              checked={chosen ?? false}
              aria-label={`Select “${finding.title}”`}
              onChange={(event) => onChoose(event.target.checked)}
            />
            choose
          </label>
        )}
      </p>
      <h2>
        <Link to="/f/$slug" params={{ slug: finding.slug }}>
          {finding.title}
        </Link>
      </h2>
      {finding.claim && <p className="soft">{finding.claim}</p>}
      <ul>
        {finding.summary.map((sentence) => (
          <li key={sentence}>{sentence}</li>
        ))}
      </ul>
    </article>
  )
}
