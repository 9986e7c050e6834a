/** Experiments on the prompts and baskets of the workbench. Each is requested when its tab is opened. */
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
  // Lives here and not in its tab, so that a running sweep continues while another tab is open.
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
            Suppress every component alone, try other masks, inspect attention, or continue the text.
          </p>
        )}
        {open && open !== 'sweep' && !bench.ready && (
          <p className="pad small soft">Available once the weights are ready.</p>
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
