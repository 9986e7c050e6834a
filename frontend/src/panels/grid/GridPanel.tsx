/** Tokens × sites for all prompts on the same rows. */
import { memo, useMemo } from 'react'
import { sentenceOf } from '@/api/client'
import { layerOf } from '@/api/words'
import { CIGrid } from '@/charts/CIGrid'
import type { Block, Place } from '@/charts/grid'
import { gridSvg, gridTable } from '@/charts/gridFigure'
import { Legend } from '@/charts/Legend'
import { gridEffects, saturated } from '@/state/effects'
import { useSlow } from '@/state/hooks'
import { type CIIndex, type GridRow, gridRows, gridValues } from '@/state/importances'
import { trustFacts } from '@/state/trust'
import { importanceParts, unchanged } from '@/state/unchanged'
import type { PromptView, Workbench } from '@/state/useWorkbench'
import { type GridShow, layerOpener } from '@/state/workbench'
import { Button, Seg } from '@/ui/controls'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Hint } from '@/ui/Hint'
import { ErrorNotice, Notice, Panel, Recomputing, Skeleton } from '@/ui/surfaces'
import { Threshold } from './Threshold'
import './grid.css'

const CROWDED = 48

export const GridPanel = memo(Grid, unchanged(partsOf))

function partsOf(bench: Workbench): unknown[] {
  const { search, ready, active, threshold, decomposition } = bench
  const { show, scale, open, row, col } = search
  return [show, scale, open, row, col, ready, active, threshold, decomposition, ...importanceParts(bench)]
}

function Grid({ bench }: { bench: Workbench }) {
  const { search, set, prompts, threshold } = bench
  const full = prompts.some((prompt) => prompt.index && isSaturated(prompt.index))
  const show = search.show ?? (full ? (bench.ready ? 'effect' : 'count') : 'max')
  const scale = search.scale ?? (show === 'effect' ? 'log' : 'linear')
  const sites =
    prompts.find((prompt) => prompt.index)?.index?.sites ??
    bench.decomposition.site_summaries.map((site) => site.site)
  const rows = useMemo(() => gridRows(sites, layerOpener(search.open, sites.length)), [sites, search.open])
  const layers = useMemo(() => [...new Set(sites.map(layerOf).filter((layer) => layer !== null))], [sites])
  const drawn = prompts.filter((prompt) => prompt.index)
  // Cells are computed once per response and display mode, so that selecting and hovering redraw nothing.
  const indices = prompts.flatMap((prompt) => [prompt.index, prompt.effectIndex])
  // biome-ignore lint/correctness/useExhaustiveDependencies: the list is new each time, its members are not
  const values = useMemo(
    () => prompts.map((prompt) => cellsOf(prompt, rows, show, threshold)),
    [...indices, rows, show, threshold],
  )
  const top =
    show === 'max'
      ? 1
      : Math.max(
          show === 'count' ? 1 : 0.01,
          ...values.map((list) => list.reduce((a, b) => Math.max(a, b), 0)),
        )
  const blocks = prompts.map(
    (prompt, i): Block => ({
      name: prompt.name,
      tokens: prompt.importances.data?.tokens ?? [],
      values: values[i] ?? new Float32Array(),
      stale: prompt.importances.stale,
      muted: prompt.trust.data?.level === 'not',
    }),
  )
  const there = blocks.map((block, i) => ({ block, i })).filter(({ block }) => block.tokens.length > 0)
  // Long prompts do not fit side by side: then only the selected one is shown, with a switch to the others.
  const crowded = there.length > 1 && there.reduce((sum, { block }) => sum + block.tokens.length, 0) > CROWDED
  const filled = crowded ? there.filter(({ i }) => i === bench.active) : there
  const selected: Place = {
    block: filled.findIndex(({ i }) => i === bench.active),
    row: rows.some((row) => row.id === search.row) ? (search.row ?? null) : null,
    column: search.col ?? null,
  }
  const select = (place: Place) =>
    set({ n: (filled[place.block]?.i ?? 0) + 1, row: place.row ?? undefined, col: place.column ?? undefined })
  const fold = (layer: number) => {
    const open = rows
      .filter((row) => row.kind === 'layer' && row.open !== (row.layer === layer))
      .map((row) => row.layer)
    set({ open: open.length === 0 ? 'none' : open.length === layers.length ? 'all' : open.join(',') })
  }
  const anyOpen = rows.some((row) => row.kind === 'layer' && row.open)
  const slow = useSlow(
    prompts.some(
      ({ importances, effects }) =>
        importances.stale || importances.pending || (show === 'effect' && effects.pending),
    ),
  )
  const stored = prompts.some((prompt) => prompt.importances.data?.source === 'stored')

  return (
    <Panel
      className="grid-panel"
      title="Causal importance"
      aside={
        <>
          <Hint about="causal importance">
            <p>
              A number from 0 to 1 for each subcomponent at each token. At 0 it can be removed there, by any
              amount, without changing the output; at 1 it is needed.
            </p>
            <p>
              A cell shows the largest value in its site, how many components reach the threshold, or the
              effect of those on the token: by how much suppressing each would change its log p, to first
              order, summed without signs.
            </p>
          </Hint>{' '}
          <Recomputing on={slow} what="recomputing" />
        </>
      }
      tools={
        <>
          {crowded && (
            <Seg
              label="Prompt shown"
              value={String(bench.active + 1)}
              options={prompts.map((prompt, i) => ({ value: String(i + 1), label: prompt.name }))}
              onChange={(value) => set({ n: Number(value), col: undefined })}
            />
          )}
          {stored && <span className="badge">stored with the run</span>}
          <Seg
            label="Cells show"
            value={show}
            options={[
              { value: 'max', label: 'max CI' },
              { value: 'count', label: 'count' },
              { value: 'effect', label: 'effect' },
            ]}
            onChange={(value) => set({ show: value }, { replace: true })}
          />
          <Threshold
            value={threshold}
            fallback={bench.decomposition.provenance.threshold}
            onChange={(t) => set({ t }, { replace: true })}
            scale={scale}
            onScale={(one) => set({ scale: one }, { replace: true })}
          />
          {layers.length > 0 && (
            <Button size="small" kind="quiet" onClick={() => set({ open: anyOpen ? 'none' : 'all' })}>
              {anyOpen ? 'Fold' : 'Unfold'}
              <span className="hidden-visually"> layers</span>
            </Button>
          )}
        </>
      }
    >
      <Foreign prompts={prompts} />
      <Problems prompts={prompts} ready={bench.ready} />
      {filled.length > 0 ? (
        <CIGrid
          rows={rows}
          blocks={filled.map(({ block }) => block)}
          show={show}
          scale={scale}
          top={top}
          selected={selected}
          onSelect={select}
          onFold={fold}
          named={prompts.length > 1}
          hint="Click a cell, a site or a token: the list beside shows the components behind it."
        />
      ) : (
        prompts.some((prompt) => prompt.importances.pending) && (
          <div className="pad">
            <Skeleton height={320} label="Computing causal importances" />
          </div>
        )
      )}
      {drawn.length > 0 && (
        <div className="grid-foot">
          <Legend show={show} scale={scale} top={top} threshold={threshold} />
          <ExportMenu
            of={bench.id}
            name="causal-importance"
            title="Causal importance"
            facts={{
              ...provenanceFacts(drawn[0]?.importances.data?.provenance ?? bench.decomposition.provenance),
              ...trustFacts(prompts),
            }}
            table={() => gridTable({ rows, blocks: there.map(({ block }) => block), show })}
            figure={() =>
              gridSvg({ rows, blocks: filled.map(({ block }) => block), show, scale, top, threshold })
            }
          />
        </div>
      )}
    </Panel>
  )
}

const SATURATED = new WeakMap<CIIndex, boolean>()
function isSaturated(index: CIIndex): boolean {
  let known = SATURATED.get(index)
  if (known === undefined) {
    known = saturated(index)
    SATURATED.set(index, known)
  }
  return known
}

function cellsOf(prompt: PromptView, rows: GridRow[], show: GridShow, threshold: number): Float32Array {
  const { index, effectIndex } = prompt
  if (!index) return new Float32Array()
  if (show !== 'effect') return gridValues(index, rows, show, threshold)
  return effectIndex
    ? gridEffects(index, effectIndex, rows, threshold)
    : new Float32Array(rows.length * index.length)
}

/** A sentence for each prompt that the decomposition does not describe, or is not about. */
function Foreign({ prompts }: { prompts: PromptView[] }) {
  const foreign = prompts.flatMap(({ name, trust: { data } }) =>
    data && (data.level === 'not' || data.level === 'outside') ? [{ name, ...data }] : [],
  )
  if (foreign.length === 0) return null
  return (
    <div className="pad grid-foreign">
      {foreign.map(({ name, level, sentence }) => (
        <Notice key={name} tone={level === 'not' ? 'warn' : 'info'}>
          {prompts.length > 1 && <b>{name}: </b>}
          {sentence}
        </Notice>
      ))}
    </div>
  )
}

function Problems({ prompts, ready }: { prompts: PromptView[]; ready: boolean }) {
  const failed = prompts.filter((prompt) => prompt.importances.error)
  if (failed.length === 0) return null
  return (
    <div className="pad">
      {failed.map((prompt) => (
        <div key={prompt.name}>
          <p className="field-label">{prompt.name}</p>
          {ready ? (
            <ErrorNotice error={prompt.importances.error} onRetry={prompt.importances.retry} />
          ) : (
            <Notice>{sentenceOf(prompt.importances.error)}</Notice>
          )}
        </div>
      ))}
    </div>
  )
}
