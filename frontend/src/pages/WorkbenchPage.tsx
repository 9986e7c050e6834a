import { useParams } from '@tanstack/react-router'
import type { Decomposition } from '@/api/types'
import { BasketPanel } from '@/panels/basket/BasketPanel'
import { ComparePanel } from '@/panels/compare/ComparePanel'
import { GridPanel } from '@/panels/grid/GridPanel'
import { MattersPanel } from '@/panels/matters/MattersPanel'
import { PromptsPanel } from '@/panels/prompts/PromptsPanel'
import { ProvenanceStrip } from '@/panels/provenance/ProvenanceStrip'
import { ScreenCode, ShareDialog } from '@/panels/share/ShareDialog'
import { ShiftPanel } from '@/panels/shift/ShiftPanel'
import { TargetNotice } from '@/panels/target/TargetNotice'
import { Tour } from '@/panels/tour/Tour'
import { useTitle } from '@/state/hooks'
import { forgetProblems, useProblems } from '@/state/problems'
import { useWorkbench } from '@/state/useWorkbench'
import { AddressProblems, ErrorNotice } from '@/ui/surfaces'
import { Experiments } from './Experiments'
import { WithDecomposition } from './WithDecomposition'

export function WorkbenchPage() {
  const { id } = useParams({ from: '/d/$id/workbench' })
  return (
    <WithDecomposition id={id} heights={[120, 420]}>
      {(d) => <Bench decomposition={d} />}
    </WithDecomposition>
  )
}

function Bench({ decomposition }: { decomposition: Decomposition }) {
  const bench = useWorkbench(decomposition)
  useTitle(`${decomposition.title}, workbench`)
  const results = bench.prompts.map((prompt) => prompt.shown.data).filter((result) => result !== undefined)
  const stored = bench.prompts.some((prompt) => prompt.importances.data?.source === 'stored')
  const result = results[0]
  return (
    <div>
      <Tour bench={bench} />
      <div className="bench">
        <div className="bench-head">
          <h1>{decomposition.title}</h1>
          <span className="grow" />
          <ScreenCode bench={bench} />
          <ShareDialog bench={bench} />
        </div>
        <div className="bench-notices">
          <AddressProblems
            problems={useProblems('workbench')}
            onDismiss={() => forgetProblems('workbench')}
          />
          <TargetNotice decomposition={decomposition} />
          <ErrorNotice error={bench.groupsError} />
        </div>
        <PromptsPanel bench={bench} />
        <GridPanel bench={bench} />
        <aside className="bench-side" aria-label="Components and baskets">
          <MattersPanel bench={bench} />
          <BasketPanel bench={bench} />
        </aside>
        <ShiftPanel bench={bench} />
        <div className="bench-output">
          <ComparePanel bench={bench} />
          <Experiments bench={bench} />
        </div>
        <ProvenanceStrip
          provenance={result?.provenance ?? decomposition.provenance}
          threshold={bench.threshold}
          selfCheck={results.length > 0 ? Math.max(...results.map((one) => one.self_check.max_kl)) : null}
          source={result ? 'live' : stored ? 'stored' : null}
          elapsedMs={result ? Math.max(...results.map((one) => one.elapsed_ms)) : null}
          cut={cutOff(bench.prompts.map((prompt) => prompt.index !== null))}
        />
      </div>
    </div>
  )
}

/** What could not be computed, in words; null when nothing is missing. */
function cutOff(there: boolean[]): string | null {
  const missing = there.filter((one) => !one).length
  return missing === 0 ? null : `${missing} of ${there.length} prompts without importances`
}
