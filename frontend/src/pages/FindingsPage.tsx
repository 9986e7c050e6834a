import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { useEffect, useState } from 'react'
import { queries } from '@/api/queries'
import { at } from '@/api/root'
import { count, plural } from '@/api/words'
import { Collect } from '@/panels/finding/Collect'
import { FindingCard } from '@/panels/finding/FindingCard'
import { useDebounced, useTitle } from '@/state/hooks'
import { forgetProblems, useProblems } from '@/state/problems'
import { Button } from '@/ui/controls'
import { ExportMenu } from '@/ui/Export'
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
  const collections = useQuery(queries.collections())
  const [chosen, setChosen] = useState<string[]>([])
  const items = query.data?.pages.flatMap((page) => page.items) ?? []
  return (
    <div className="page">
      <div className="page-head">
        <div>
          <h1>Findings</h1>
          <p className="lead">
            Saved observations with their prompts, components and numbers. Each can be recomputed.
          </p>
        </div>
        <span className="row">
          <input
            className="input table-search"
            type="search"
            aria-label="Search findings"
            placeholder="Search findings"
            data-search
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
          <ExportMenu
            of="unweave"
            name="findings"
            title="Findings"
            links={(['csv', 'json'] as const).map((kind) => ({
              label: kind.toUpperCase(),
              href: at(
                `/api/findings.${kind}?${new URLSearchParams(Object.entries({ q: search.q, decomposition: search.decomposition }).filter((pair): pair is [string, string] => pair[1] !== undefined))}`,
              ),
            }))}
          />
        </span>
      </div>
      <AddressProblems problems={useProblems('findings')} onDismiss={() => forgetProblems('findings')} />
      <ErrorNotice error={query.error} onRetry={() => query.refetch()} />
      {collections.data && collections.data.items.length > 0 && (
        <nav className="collections" aria-label="Collections">
          {collections.data.items.map((one) => (
            <Link key={one.slug} to="/collections/$slug" params={{ slug: one.slug }} className="badge">
              {one.title} <span className="soft">{plural(one.size, 'finding')}</span>
            </Link>
          ))}
        </nav>
      )}
      <Collect slugs={chosen} onClear={() => setChosen([])} />
      {query.isPending && <Skeleton height={180} label="Loading the findings" />}
      <div className={`finding-grid ${query.isPlaceholderData ? 'stale' : ''}`}>
        {items.map((finding) => (
          <FindingCard
            key={finding.slug}
            finding={finding}
            chosen={chosen.includes(finding.slug)}
            onChoose={(on) =>
              setChosen((old) => (on ? [...old, finding.slug] : old.filter((slug) => slug !== finding.slug)))
            }
          />
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
