import { useInfiniteQuery } from '@tanstack/react-query'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { useEffect, useState } from 'react'
import { queries } from '@/api/queries'
import { count } from '@/api/words'
import { FindingCard } from '@/panels/finding/FindingCard'
import { useDebounced, useTitle } from '@/state/hooks'
import { forgetProblems, useProblems } from '@/state/problems'
import { Button } from '@/ui/controls'
import { AddressProblems, Empty, ErrorNotice, Skeleton } from '@/ui/surfaces'

export function FindingsPage() {
  useTitle('Findings')
  const search = useSearch({ from: '/findings' })
  const navigate = useNavigate({ from: '/findings' })
  const [text, setText] = useState(search.q ?? '')
  const settled = useDebounced(text, 200)
  // biome-ignore lint/correctness/useExhaustiveDependencies: only a rest in typing changes the address
  useEffect(() => {
    if (settled !== (search.q ?? ''))
      void navigate({
        search: { ...search, q: settled === '' ? undefined : settled },
        replace: true,
      })
  }, [settled])
  const query = useInfiniteQuery(queries.findings({ q: search.q, decomposition: search.decomposition }))
  const items = query.data?.pages.flatMap((page) => page.items) ?? []
  return (
    <div className="page">
      <div className="page-head">
        <div>
          <h1>Findings</h1>
          <p className="lead">
            What people saw, kept with its prompts, components and numbers. Each can be computed again.
          </p>
        </div>
        <input
          className="input table-search"
          type="search"
          aria-label="Search findings"
          placeholder="Search findings"
          data-search
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
      </div>
      <AddressProblems problems={useProblems('findings')} onDismiss={() => forgetProblems('findings')} />
      <ErrorNotice error={query.error} onRetry={() => query.refetch()} />
      {query.isPending && <Skeleton height={180} label="Loading the findings" />}
      <div className={`finding-grid ${query.isPlaceholderData ? 'stale' : ''}`}>
        {items.map((finding) => (
          <FindingCard key={finding.slug} finding={finding} />
        ))}
      </div>
      {query.data && items.length === 0 && (
        <Empty title={search.q ? 'No finding matches' : 'No findings yet'}>
          <p>Suppress something in a workbench and press Share: it appears here.</p>
        </Empty>
      )}
      {query.hasNextPage && (
        <p className="row center">
          <Button onClick={() => query.fetchNextPage()} disabled={query.isFetchingNextPage}>
            Show more of {count(query.data?.pages[0]?.total ?? 0)}
          </Button>
        </p>
      )}
    </div>
  )
}
