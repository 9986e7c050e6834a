import { useQuery } from '@tanstack/react-query'
import { useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { queries } from '@/api/queries'
import type { Decomposition } from '@/api/types'
import { plural, signed, visible } from '@/api/words'
import { BasketLine } from '@/panels/promptset/BasketLine'
import { SetEditor } from '@/panels/promptset/SetEditor'
import { SetTable } from '@/panels/promptset/SetTable'
import { TargetNotice } from '@/panels/target/TargetNotice'
import { useSlow, useTitle } from '@/state/hooks'
import { forgetProblems, useProblems } from '@/state/problems'
import {
  basketOfSet,
  encodeSetPrompt,
  MOST_IN_SET,
  type PromptSetSearch,
  type SetPrompt,
  type SetRow,
  type Summary,
  summarise,
} from '@/state/promptSet'
import { usePromptSet } from '@/state/usePromptSet'
import { Button, CopyButton } from '@/ui/controls'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { AddressProblems, Empty, ErrorNotice, Notice, Panel, Recomputing } from '@/ui/surfaces'
import { WithDecomposition } from './WithDecomposition'

export function PromptSetPage() {
  const { id } = useParams({ from: '/d/$id/prompts' })
  return (
    <WithDecomposition id={id} heights={[120, 320]}>
      {(d) => <PromptSet key={id} decomposition={d} />}
    </WithDecomposition>
  )
}

function PromptSet({ decomposition }: { decomposition: Decomposition }) {
  const { id } = decomposition
  const search = useSearch({ from: '/d/$id/prompts' })
  const navigate = useNavigate({ from: '/d/$id/prompts' })
  useTitle(`${decomposition.title}, prompt set`)
  const go = (change: Partial<PromptSetSearch>) =>
    void navigate({ search: { ...search, ...change }, resetScroll: false })
  const groups = useQuery(queries.groups(id)).data?.items
  const byName = new Map((groups ?? []).map((group) => [group.name, group]))
  const ready = decomposition.target.state === 'ready' && groups !== undefined
  const set = usePromptSet(id, search, byName, ready)
  const busy = useSlow(set.pending)
  const found = set.rows.flatMap((row) => row ?? [])
  const basket = basketOfSet(search)
  const add = (more: SetPrompt[]) => go({ q: [...(search.q ?? []), ...more.map(encodeSetPrompt)] })
  const missing = set.pending || set.provenance === null ? 0 : set.rows.length - found.length
  return (
    <div className="page">
      <div className="page-head">
        <div>
          <h1>Prompt set</h1>
          <p className="lead">
            One basket on many prompts: what happens to each answer, and on average. Prompts and basket are in
            the address.
          </p>
        </div>
        <CopyButton text={window.location.href}>Copy link</CopyButton>
      </div>
      <AddressProblems problems={useProblems('prompts')} onDismiss={() => forgetProblems('prompts')} />
      <TargetNotice decomposition={decomposition} />
      <BasketLine basket={basket} groups={groups ?? []} onBasket={(a) => go({ a })} />
      {set.unknown.length > 0 && groups && (
        <Notice tone="warn">This run has no group {set.unknown.join(', ')}.</Notice>
      )}
      <SetEditor
        bos={decomposition.prompts[0]?.bos ?? false}
        room={MOST_IN_SET - set.prompts.length}
        onAdd={add}
      />
      <ErrorNotice error={set.error} onRetry={set.retry} />
      <Panel
        title={plural(set.prompts.length, 'prompt')}
        aside={<Recomputing on={busy} what="Computing" />}
        tools={
          <>
            {set.prompts.length === 0 && (
              <Button size="small" onClick={() => add(ownPrompts(decomposition))}>
                Take the run’s own prompts
              </Button>
            )}
            {set.provenance && (
              <ExportMenu
                of={id}
                name="prompt-set"
                title="Prompt set"
                facts={provenanceFacts(set.provenance)}
                table={() => fileOf(set.prompts, set.rows)}
              />
            )}
          </>
        }
      >
        <div className="pad" role="status">
          <Sentence summary={summarise(found)} prompts={set.prompts} chosen={basket.length > 0} />
          {missing > 0 && set.error === null && (
            <p className="small soft">
              {plural(missing, 'prompt')} without a figure: the answer is no single token.
            </p>
          )}
        </div>
        {set.prompts.length > 0 ? (
          <SetTable id={id} prompts={set.prompts} rows={set.rows} search={search} onSearch={go} />
        ) : (
          <Empty title="No prompts yet">Type or paste some above.</Empty>
        )}
      </Panel>
    </div>
  )
}

/** The mean, its interval and the worst prompt, in words. */
function Sentence(props: { summary: Summary | null; prompts: SetPrompt[]; chosen: boolean }) {
  const { summary } = props
  if (!props.chosen) return <p className="soft">Add a group, or come here from a basket on the workbench.</p>
  if (!summary) return null
  const worst = props.prompts[summary.worst.index]?.spec.text ?? 'a prompt of token ids'
  return (
    <p>
      Log p of the answers changes by <b className="num">{signed(summary.mean, 2)}</b> nats on average
      {summary.interval && (
        <>
          {' '}
          (95 % of resampled means: {signed(summary.interval[0], 2)} to {signed(summary.interval[1], 2)})
        </>
      )}
      ; {summary.falls} of {summary.prompts} lose at least a tenth of their probability. Worst:{' '}
      <b className="mono">{visible(summary.worst.token)}</b> after “{worst}”,{' '}
      {signed(summary.worst.change, 2)}.
    </p>
  )
}

const ownPrompts = (decomposition: Decomposition): SetPrompt[] =>
  decomposition.prompts.map((prompt) => ({
    spec: { text: prompt.text, bos: prompt.bos },
    answer: prompt.answer ?? null,
  }))

/** A file that can be read in again: its first columns are text and answer. */
function fileOf(prompts: SetPrompt[], rows: (SetRow | null)[]) {
  return {
    columns: [
      { key: 'text', typed: true },
      { key: 'answer', typed: true },
      { key: 'before', unit: 'probability' },
      { key: 'after', unit: 'probability' },
      { key: 'log_probability_change', unit: 'nats' },
      { key: 'kl', unit: 'nats' },
    ],
    rows: prompts.map(({ spec, answer }, index) => ({
      text: spec.text ?? spec.ids.join(' '),
      answer: answer ?? rows[index]?.token,
      before: rows[index]?.before,
      after: rows[index]?.after,
      log_probability_change: rows[index]?.change,
      kl: rows[index]?.kl,
    })),
  }
}
