import { useQuery } from '@tanstack/react-query'
import type { ReactNode } from 'react'
import { queries } from '@/api/queries'
import type { Decomposition } from '@/api/types'
import { Skeleton } from '@/ui/surfaces'
import { LoadFailed } from './Root'

/** A page about one decomposition, with a placeholder until it has loaded. */
export function WithDecomposition(props: {
  id: string
  heights: [number, number]
  children: (decomposition: Decomposition) => ReactNode
}) {
  const query = useQuery(queries.decomposition(props.id))
  if (query.data) return props.children(query.data)
  if (query.error) return <LoadFailed error={query.error} retry={() => query.refetch()} />
  return (
    <div className="page">
      <Skeleton height={props.heights[0]} label="Loading the decomposition" />
      <Skeleton height={props.heights[1]} />
    </div>
  )
}
