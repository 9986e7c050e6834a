import { useQuery } from '@tanstack/react-query'
import { Link, useParams } from '@tanstack/react-router'
import { queries } from '@/api/queries'
import type { Collection } from '@/api/types'
import { day, plural } from '@/api/words'
import { FindingCard } from '@/panels/finding/FindingCard'
import { useTitle } from '@/state/hooks'
import { CopyButton } from '@/ui/controls'
import { ExportMenu } from '@/ui/Export'
import { Notice, Skeleton } from '@/ui/surfaces'
import { LoadFailed } from './Root'

/** A named list of findings, under a link of its own. */
export function CollectionPage() {
  const { slug } = useParams({ from: '/collections/$slug' })
  const query = useQuery(queries.collection(slug))
  if (query.data) return <View collection={query.data} />
  if (query.error) return <LoadFailed error={query.error} retry={() => query.refetch()} />
  return (
    <div className="page">
      <Skeleton height={110} label="Loading the collection" />
      <Skeleton height={180} />
    </div>
  )
}

function View({ collection: c }: { collection: Collection }) {
  useTitle(c.title)
  return (
    <div className="page">
      <div className="page-head">
        <div>
          <p className="row small soft">
            <Link to="/findings">Findings</Link>
            <span>collection of {day(c.created_at)}</span>
            <span>{plural(c.size, 'finding')}</span>
          </p>
          <h1>{c.title}</h1>
          {c.description && <p className="lead">{c.description}</p>}
        </div>
        <span className="row">
          <CopyButton text={window.location.href}>Copy link</CopyButton>
          <ExportMenu
            of={c.slug}
            name="findings"
            title={c.title}
            facts={{ collection: c.slug }}
            table={() => ({
              columns: [
                { key: 'slug' },
                { key: 'title', typed: true },
                { key: 'claim', typed: true },
                { key: 'decomposition' },
                { key: 'created_at' },
                { key: 'summary' },
              ],
              rows: c.findings.map(({ slug, title, claim, decomposition, created_at, summary }) => ({
                slug,
                title,
                claim,
                decomposition,
                created_at,
                summary,
              })),
            })}
          />
        </span>
      </div>
      {c.missing.length > 0 && (
        <Notice tone="warn">
          {plural(c.missing.length, 'finding')} of this collection {c.missing.length === 1 ? 'is' : 'are'} not
          in this database: {c.missing.join(', ')}
        </Notice>
      )}
      <div className="finding-grid">
        {c.findings.map((finding) => (
          <FindingCard key={finding.slug} finding={finding} />
        ))}
      </div>
    </div>
  )
}
