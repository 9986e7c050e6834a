import { useQuery } from '@tanstack/react-query'
import { useParams } from '@tanstack/react-router'
import { useState } from 'react'
import { newestEvaluation } from '@/api/evaluations'
import type { Decomposition, Evaluation } from '@/api/types'
import { BudgetCurves } from '@/panels/comparison/BudgetCurves'
import { FactRows } from '@/panels/comparison/FactRows'
import { Layers } from '@/panels/comparison/Layers'
import { MethodTable } from '@/panels/comparison/MethodTable'
import { Pairs } from '@/panels/comparison/Pairs'
import { Protocol } from '@/panels/comparison/Protocol'
import { Verdict } from '@/panels/comparison/Verdict'
import { useTitle } from '@/state/hooks'
import { Empty, Skeleton } from '@/ui/surfaces'
import { LoadFailed } from './Root'
import { WithDecomposition } from './WithDecomposition'

export function EvidencePage() {
  const { id } = useParams({ from: '/d/$id/evidence' })
  return (
    <WithDecomposition id={id} heights={[110, 420]}>
      {(d) => <Evidence d={d} />}
    </WithDecomposition>
  )
}

function Evidence({ d }: { d: Decomposition }) {
  useTitle(`Evidence of ${d.title}`)
  const query = useQuery(newestEvaluation(d.id))
  if (query.error) return <LoadFailed error={query.error} retry={() => query.refetch()} />
  return (
    <div className="page">
      <div className="page-head">
        <div>
          <h1>Evidence</h1>
          <p className="lead">
            Suppressing components of {d.title}, against other ways to take the same facts out of the same
            model.
          </p>
        </div>
      </div>
      {query.data === undefined && <Skeleton height={420} label="Loading the evaluation" />}
      {query.data === null && (
        <Empty title="There is no evaluation yet">
          <p>
            Make one where the server runs: <code>unweave evaluate {d.id}</code>. It compares every method on
            the run’s own facts and appears here.
          </p>
        </Empty>
      )}
      {query.data && <Compared d={d} evaluation={query.data} />}
    </div>
  )
}

function Compared({ d, evaluation }: { d: Decomposition; evaluation: Evaluation }) {
  const [budget, setBudget] = useState(evaluation.config.main)
  const shared = { evaluation, from: d.provenance }
  return (
    <>
      <Verdict evaluation={evaluation} />
      <MethodTable {...shared} budget={budget} onBudget={setBudget} />
      <FactRows {...shared} bos={d.prompts[0]?.bos ?? false} />
      <BudgetCurves {...shared} />
      <Layers {...shared} />
      <Pairs {...shared} />
      <Protocol evaluation={evaluation} />
    </>
  )
}
