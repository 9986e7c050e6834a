import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { queries } from '@/api/queries'
import type { DecompositionSummary, FindingSummary } from '@/api/types'
import { plural } from '@/api/words'
import { DecompositionCard } from '@/panels/gallery/DecompositionCard'
import { Explain } from '@/panels/gallery/Explain'
import { Story } from '@/panels/gallery/Story'
import { found } from '@/state/find'
import { useTitle } from '@/state/hooks'
import { Empty, ErrorNotice, Notice, Skeleton } from '@/ui/surfaces'

/** With fewer, there is nothing to search. */
const FEW = 3

export function GalleryPage() {
  useTitle('Gallery')
  const list = useQuery(queries.decompositions())
  const featured = useInfiniteQuery(queries.findings({ featured: true }))
  const findings = new Map<string, FindingSummary>()
  for (const page of featured.data?.pages ?? [])
    for (const finding of page.items) findings.set(finding.slug, finding)
  const [search, setSearch] = useState('')
  const all = list.data?.items ?? []
  const items = all.filter((one) => found(one, search))
  const shown = items.filter((one) => !one.archived)
  const archived = items.filter((one) => one.archived)
  const card = (one: DecompositionSummary) => (
    <DecompositionCard
      key={one.id}
      decomposition={one}
      findings={one.featured_findings
        .map((slug) => findings.get(slug))
        .filter((finding) => finding !== undefined)}
    />
  )
  return (
    <div className="page">
      <div className="hero">
        <h1>Take a transformer’s weights apart, and see what each part does.</h1>
        <p className="lead">
          Unweave shows Stochastic Parameter Decompositions: every weight matrix as a sum of rank-1
          components, which of them a prompt needs, and what the model predicts without them.
        </p>
        <Link to="/new" className="btn">
          Decompose a model of your own
        </Link>
      </div>
      {list.data?.story && <Story slug={list.data.story} />}
      <ErrorNotice error={list.error} onRetry={() => list.refetch()} />
      {list.data?.warnings.map((warning) => (
        <Notice key={warning} tone="warn">
          {warning}
        </Notice>
      ))}
      {list.isPending && (
        <>
          <Skeleton height={300} label="Loading the decompositions" />
          <Skeleton height={300} />
        </>
      )}
      {list.data?.items.length === 0 && (
        <Empty title="No decompositions yet">
          <p>Start one on the jobs page, or put a finished run into the home folder.</p>
        </Empty>
      )}
      {all.length >= FEW && (
        <label className="gallery-search">
          <span className="small soft">Find by name, model, words or tags</span>
          <input
            className="input"
            type="search"
            value={search}
            onChange={(event) => setSearch(event.target.value)}
          />
        </label>
      )}
      {all.length > 0 && items.length === 0 && <p className="soft">Nothing here has all these words.</p>}
      {shown.map(card)}
      {archived.length > 0 && (
        <details>
          <summary>{plural(archived.length, 'archived decomposition')}</summary>
          {archived.map(card)}
        </details>
      )}
      <ErrorNotice error={featured.error} onRetry={() => featured.refetch()} />
      {list.data && !list.data.story && <Explain />}
    </div>
  )
}
