import { Link } from '@tanstack/react-router'
import type { FindingSummary } from '@/api/types'
import { day } from '@/api/words'

export function FindingCard({ finding }: { finding: FindingSummary }) {
  return (
    <article className="panel finding-card">
      <p className="row small faint">
        <span className="mono">{finding.decomposition}</span>
        <span>{day(finding.created_at)}</span>
        {finding.featured && <span className="badge accent">featured</span>}
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
