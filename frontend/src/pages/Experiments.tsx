/** Experiments on what stands on the workbench: each is asked for when its tab is open, and costs nothing before. */
import { Tabs } from 'radix-ui'
import { lazy, Suspense } from 'react'
import type { Lab } from '@/state/lab'
import { useSweep } from '@/state/useSweep'
import type { Workbench } from '@/state/useWorkbench'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Skeleton } from '@/ui/surfaces'

const SweepPanel = lazy(() => import('@/panels/sweep/SweepPanel').then((m) => ({ default: m.SweepPanel })))
const MasksPanel = lazy(() => import('@/panels/masks/MasksPanel').then((m) => ({ default: m.MasksPanel })))
const AttentionPanel = lazy(() =>
  import('@/panels/attention/AttentionPanel').then((m) => ({ default: m.AttentionPanel })),
)
const ContinuationPanel = lazy(() =>
  import('@/panels/continuation/ContinuationPanel').then((m) => ({ default: m.ContinuationPanel })),
)

const TABS: { value: Lab; label: string }[] = [
  { value: 'sweep', label: 'Sweep' },
  { value: 'masks', label: 'Other masks' },
  { value: 'attention', label: 'Attention' },
  { value: 'continue', label: 'Continue' },
]

export function Experiments({ bench }: { bench: Workbench }) {
  // Kept here, not in its tab: rows stay and go on coming while another tab is looked at.
  const sweep = useSweep(bench.id)
  const open = bench.search.lab
  return (
    <section className="panel" aria-label="Experiments">
      <Tabs.Root
        value={open ?? ''}
        activationMode="manual"
        onValueChange={(value) => bench.set({ lab: value as Lab })}
      >
        <div className="panel-bar">
          <h2>Experiments</h2>
          <Tabs.List className="tabs" aria-label="Experiments">
            {TABS.map((tab) => (
              <Tabs.Trigger key={tab.value} value={tab.value} className="tab-button">
                {tab.label}
                {tab.value === 'sweep' && sweep.run?.state === 'running' && (
                  <span className="num small">
                    {' '}
                    {Math.round((sweep.run.done / (sweep.run.total || 1)) * 100)} %
                  </span>
                )}
              </Tabs.Trigger>
            ))}
          </Tabs.List>
          <span className="grow" />
          {open && (
            <Button
              kind="quiet"
              size="small"
              icon
              aria-label="Close the experiments"
              onClick={() => bench.set({ lab: undefined }, { replace: true })}
            >
              <Icon name="close" />
            </Button>
          )}
        </div>
        {!open && (
          <p className="pad small soft">
            Sweep every component by itself, try other masks, look at attention, or let the model write on.
          </p>
        )}
        {open && open !== 'sweep' && !bench.ready && (
          <p className="pad small soft">This comes when the weights are ready.</p>
        )}
        {TABS.map((tab) => (
          <Tabs.Content key={tab.value} value={tab.value}>
            <Suspense fallback={<Skeleton height={160} label="Loading the experiment" />}>
              {tab.value === 'sweep' && <SweepPanel bench={bench} sweep={sweep} />}
              {tab.value === 'masks' && <MasksPanel bench={bench} />}
              {tab.value === 'attention' && <AttentionPanel bench={bench} />}
              {tab.value === 'continue' && <ContinuationPanel bench={bench} />}
            </Suspense>
          </Tabs.Content>
        ))}
      </Tabs.Root>
    </section>
  )
}
