/** Attention patterns of a layer's heads, before and after the suppression. The head that changes most comes first. */
import { useQuery } from '@tanstack/react-query'
import { useMemo, useState } from 'react'
import { experiments } from '@/api/experiments'
import type { Attention, AttentionRequest, HeadPatterns } from '@/api/types'
import { probability } from '@/api/words'
import { attentionSvg } from '@/charts/attentionFigure'
import { HeadLegend, HeadMap } from '@/charts/HeadMap'
import { useSlow } from '@/state/hooks'
import { live } from '@/state/live'
import { promptBody } from '@/state/prompts'
import { trustFacts } from '@/state/trust'
import type { Workbench } from '@/state/useWorkbench'
import { Seg } from '@/ui/controls'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { ErrorNotice, Recomputing, Skeleton } from '@/ui/surfaces'
import './attention.css'

type View = 'before' | 'after' | 'change'

interface Shown extends HeadPatterns {
  /** Total variation distance between the patterns before and after, the mean over queries; 0 to 1. */
  moved: number
}

export function AttentionPanel({ bench }: { bench: Workbench }) {
  const { search } = bench
  const prompt = bench.prompts[bench.active]
  const layers = bench.decomposition.model.layers
  const layer = Math.min(search.la ?? 0, layers - 1)
  const applied = prompt?.suppressed ?? []
  const view: View = applied.length === 0 ? 'before' : (search.av ?? 'after')
  const body: Partial<AttentionRequest> = {
    ...promptBody(prompt?.spec ?? { text: '', bos: false }),
    heads: [{ layer, head: null }],
    components: applied,
    mode: applied.length > 0 ? bench.mode : 'suppress',
    remainder: applied.length > 0 ? bench.remainder : 'on',
  }
  const query = useQuery({
    ...experiments.attention(bench.id, body),
    enabled: bench.ready && bench.known && prompt?.shown.data !== undefined,
  })
  const answer = live<Attention>(query)
  const slow = useSlow(answer.stale || answer.pending)
  const heads = useMemo(() => ranked(answer.data), [answer.data])
  const [chosen, setChosen] = useState<number | null>(null)
  const open = heads.find((head) => head.head === chosen) ?? heads[0]
  const tokens = useMemo(() => answer.data?.tokens.map((token) => token.piece) ?? [], [answer.data])
  return (
    <div className="lab-body">
      <div className="lab-controls">
        <label className="row small soft">
          layer
          <select
            className="input layer-select"
            value={layer}
            onChange={(event) => bench.set({ la: Number(event.target.value) }, { replace: true })}
          >
            {Array.from({ length: layers }, (_, i) => (
              <option key={i} value={i}>
                L{i}
              </option>
            ))}
          </select>
        </label>
        <Seg
          label="Pattern shown"
          value={view}
          options={(['before', 'after', 'change'] as const).map((one) => ({
            value: one,
            label: one,
            disabled: one !== 'before' && applied.length === 0,
          }))}
          onChange={(av) => bench.set({ av }, { replace: true })}
        />
        <HeadLegend difference={view === 'change'} />
        <span className="grow" />
        <Recomputing on={slow} what="computing" />
      </div>
      <p className="small soft lab-note">
        Prompt {bench.active + 1}.{' '}
        {applied.length === 0
          ? 'Nothing is applied: these are the model’s own patterns.'
          : 'The head whose attention changes most comes first; “moves” is the share of its attention that goes to other tokens.'}
      </p>
      <ErrorNotice error={answer.error} onRetry={answer.retry} />
      {!answer.data && !answer.error && bench.ready && prompt?.shown.data && (
        <Skeleton height={260} label="Computing attention patterns" />
      )}
      {answer.data && open && (
        <div className={`attention-room ${slow ? 'stale' : ''}`}>
          <div>
            <p className="row">
              <b className="mono">
                L{layer} H{open.head}
              </b>
              {applied.length > 0 && <span className="small soft">moves {probability(open.moved)}</span>}
              <ExportMenu
                of={bench.id}
                name={`attention-L${layer}H${open.head}-${view}`}
                title={`Attention of L${layer} H${open.head}, ${view}`}
                facts={{ ...provenanceFacts(answer.data.provenance), ...trustFacts(prompt ? [prompt] : []) }}
                table={() => patternTable(open, tokens)}
                figure={() => attentionSvg(pattern(open, view), tokens, view === 'change')}
              />
            </p>
            <HeadMap
              values={pattern(open, view)}
              tokens={tokens}
              difference={view === 'change'}
              label={`Attention of L${layer} H${open.head}, ${view}`}
              size={320}
            />
          </div>
          <fieldset className="heads">
            <legend className="small soft">heads of L{layer}</legend>
            {heads.map((head) => (
              <button
                type="button"
                key={head.head}
                aria-pressed={head === open}
                onClick={() => setChosen(head.head)}
              >
                <HeadMap
                  values={pattern(head, view)}
                  tokens={tokens}
                  difference={view === 'change'}
                  label=""
                  size={76}
                  plain
                />
                <small>
                  <span className="hidden-visually">L{layer} </span>H{head.head}
                  {applied.length > 0 && ` · ${probability(head.moved)}`}
                </small>
              </button>
            ))}
          </fieldset>
        </div>
      )}
    </div>
  )
}

const changeOf = (head: HeadPatterns) =>
  head.ablated.map((row, q) => row.map((value, k) => value - (head.baseline[q]?.[k] ?? 0)))

function pattern(head: HeadPatterns, view: View): number[][] {
  return view === 'before' ? head.baseline : view === 'after' ? head.ablated : changeOf(head)
}

function ranked(answer: Attention | undefined): Shown[] {
  const heads = (answer?.heads ?? []).map((head): Shown => {
    const rows = changeOf(head).map((row) => row.reduce((sum, value) => sum + Math.abs(value), 0) / 2)
    return { ...head, moved: rows.reduce((sum, value) => sum + value, 0) / Math.max(1, rows.length) }
  })
  return heads.sort((a, b) => b.moved - a.moved || a.head - b.head)
}

function patternTable(head: HeadPatterns, tokens: string[]) {
  return {
    columns: [
      { key: 'query' },
      { key: 'query_token' },
      { key: 'key' },
      { key: 'key_token' },
      { key: 'before', unit: 'probability' },
      { key: 'after', unit: 'probability' },
    ],
    rows: head.baseline.flatMap((row, q) =>
      row.map((before, k) => ({
        query: q,
        query_token: tokens[q],
        key: k,
        key_token: tokens[k],
        before,
        after: head.ablated[q]?.[k],
      })),
    ),
  }
}
