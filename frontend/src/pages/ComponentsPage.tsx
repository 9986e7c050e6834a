import { useQuery } from '@tanstack/react-query'
import { useParams } from '@tanstack/react-router'
import { queries } from '@/api/queries'
import { ComponentTable } from '@/panels/component/ComponentTable'
import { NewHarvest } from '@/panels/component/HarvestPanel'
import { useTitle } from '@/state/hooks'
import { Skeleton } from '@/ui/surfaces'
import { LoadFailed } from './Root'

export function ComponentsPage() {
  const { id } = useParams({ from: '/d/$id/components' })
  const query = useQuery(queries.decomposition(id))
  useTitle(`Components of ${id}`)
  if (query.error) return <LoadFailed error={query.error} retry={() => query.refetch()} />
  if (!query.data) {
    return (
      <div className="page">
        <Skeleton height={420} label="Loading the components" />
      </div>
    )
  }
  return (
    <div className="page">
      <div className="page-head">
        <div>
          <h1>Components</h1>
          <p className="lead">
            Every rank-1 component of {query.data.title}. CI, density and effect are those on the run’s own
            prompts; Label F1 says how well the label predicts where the component fires on other text. Labels
            below 0.5 are in italics.
          </p>
        </div>
        <NewHarvest id={id} text={query.data.source.kind !== 'induction'} />
      </div>
      <ComponentTable decomposition={query.data} />
    </div>
  )
}
