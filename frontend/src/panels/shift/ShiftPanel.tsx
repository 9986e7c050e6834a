/** Output shift: all prompts side by side under one condition, to show selectivity. */
import { useInfiniteQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { queries } from '@/api/queries'
import type { PromptComparison } from '@/api/types'
import { shiftTable } from '@/state/shiftTable'
import { trustFacts } from '@/state/trust'
import { type Compared, useComparison } from '@/state/useComparison'
import type { Workbench } from '@/state/useWorkbench'
import type { Condition } from '@/state/workbench'
import { Seg } from '@/ui/controls'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Panel } from '@/ui/surfaces'
import { ShiftColumn } from './ShiftColumn'
import { Watch } from './Watch'
import './shift.css'

const WORDS: Record<Condition, string> = { none: 'original', a: 'A', b: 'B', ab: 'A + B' }

export function ShiftPanel({ bench }: { bench: Workbench }) {
  const { baskets, condition } = bench
  const empty = {
    none: false,
    a: baskets.a.length === 0,
    b: baskets.b.length === 0,
    ab: baskets.a.length === 0 || baskets.b.length === 0,
  }
  const compared = useComparison(bench)
  const maxKl = Math.max(0, ...bench.prompts.map((prompt) => prompt.shown.data?.max_kl ?? 0))
  return (
    <Panel
      className="shift"
      title="Result"
      tools={
        <>
          <ExportMenu
            of={bench.id}
            name="output-shift"
            title="Result"
            facts={{
              ...provenanceFacts(
                bench.prompts.find((prompt) => prompt.shown.data)?.shown.data?.provenance ??
                  bench.decomposition.provenance,
              ),
              ...trustFacts(bench.prompts),
            }}
            table={() =>
              shiftTable(
                bench.prompts.flatMap(({ name, shown }) =>
                  shown.data ? [{ prompt: name, ablation: shown.data }] : [],
                ),
              )
            }
          />
          <Watch bench={bench} />
          <Seg
            label="Condition"
            value={condition}
            options={(['none', 'a', 'b', 'ab'] as const).map((one) => ({
              value: one,
              label: WORDS[one],
              disabled: empty[one] && one !== condition,
            }))}
            onChange={(cond) => bench.set({ cond })}
          />
        </>
      }
    >
      {!bench.ready && bench.prompts.every((prompt) => !prompt.shown.data) && <Waiting id={bench.id} />}
      <div className="shift-columns">
        {bench.prompts.map((prompt, i) => (
          <ShiftColumn
            key={i}
            bench={bench}
            prompt={prompt}
            index={i}
            maxKl={maxKl}
            comparison={comparisonOf(compared, i)}
          />
        ))}
      </div>
    </Panel>
  )
}

/** The conditions of one prompt, where the comparison holds it and is not older than what is asked. */
function comparisonOf(compared: Compared, prompt: number): PromptComparison | null {
  if (compared.answer.stale) return null
  return compared.answer.data?.prompts[compared.asked.findIndex((one) => one.prompt === prompt)] ?? null
}

/** While the weights load: the findings that can be read already. */
function Waiting({ id }: { id: string }) {
  const findings = useInfiniteQuery(queries.findings({ decomposition: id }))
  const items = findings.data?.pages[0]?.items ?? []
  return (
    <div className="pad shift-waiting">
      <p>Probabilities before and after appear once the weights are ready.</p>
      {items.length > 0 && (
        <>
          <p className="soft">Findings that are already recorded:</p>
          <ul>
            {items.slice(0, 6).map((finding) => (
              <li key={finding.slug}>
                <Link to="/f/$slug" params={{ slug: finding.slug }}>
                  {finding.title}
                </Link>{' '}
                <span className="soft small">{finding.summary[0]}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </div>
  )
}
