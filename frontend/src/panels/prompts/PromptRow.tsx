import { useEffect, useState } from 'react'
import { figure, probability, visible } from '@/api/words'
import { useDebounced, useSlow } from '@/state/hooks'
import type { PromptSpec } from '@/state/prompts'
import { describeShift, shiftAt } from '@/state/shift'
import { TRUST_WORDS, trustParts } from '@/state/trust'
import type { PromptView, Workbench } from '@/state/useWorkbench'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { ErrorNotice, Popover, Recomputing } from '@/ui/surfaces'
import { PromptEditor } from './PromptEditor'
import { TokenStrip } from './TokenStrip'
import './prompts.css'

export function PromptRow(props: {
  bench: Workbench
  prompt: PromptView
  index: number
  onChange: (spec: PromptSpec, options?: { replace?: boolean }) => void
  onRemove?: () => void
}) {
  const { bench, prompt, index } = props
  const [draft, setDraft] = useState<string | null>(null)
  const editing = draft !== null
  const settled = useDebounced(draft, 350)
  const { onChange } = props
  const { bos, plain } = prompt.spec
  const spec = (text: string, change: { bos?: boolean; plain?: boolean } = {}) => {
    const next = { bos, plain, ...change }
    return { text, bos: next.bos, ...(next.plain ? { plain: true } : {}) }
  }
  const current = prompt.spec.text ?? prompt.text

  // The text becomes the prompt after a pause in typing; the browser history gets one entry per edit.
  // biome-ignore lint/correctness/useExhaustiveDependencies: only a pause in typing sends
  useEffect(() => {
    if (settled !== null && settled !== '' && settled === draft && settled !== current)
      onChange(spec(settled), { replace: true })
  }, [settled])

  const done = () => {
    if (draft !== null && draft !== '' && draft !== current) onChange(spec(draft), { replace: true })
    setDraft(null)
  }
  const isActive = bench.active === index
  const select = (position: number) => {
    const again = isActive && bench.search.col === position
    bench.set({ n: index + 1, col: again ? undefined : position })
  }

  if (editing) {
    return (
      <div className="prompt editing">
        <NumberButton
          index={index}
          active={isActive}
          onClick={() => bench.set({ n: index + 1, col: undefined })}
        />
        <PromptEditor
          id={bench.id}
          name={prompt.name}
          text={draft}
          bos={bos}
          focus
          onText={setDraft}
          onBos={(next) => onChange(spec(draft, { bos: next }))}
          plain={plain ?? false}
          onPlain={(next) => onChange(spec(draft, { plain: next }))}
          onDone={done}
          onCancel={() => setDraft(null)}
          actions={
            <Button kind="primary" onClick={done}>
              Done
            </Button>
          }
        />
      </div>
    )
  }
  // Prompts of the run are taken as they are; warnings are for prompts a reader typed.
  const warnings = (prompt.tokenized.data?.warnings ?? []).filter(
    (warning) => !(prompt.own && warning.code === 'has_bos_text'),
  )
  return (
    <div className={`prompt ${isActive ? 'active' : ''}`}>
      <NumberButton
        index={index}
        active={isActive}
        onClick={() => bench.set({ n: index + 1, col: undefined })}
      />
      <div className="prompt-main">
        <TokenStrip
          name={prompt.name}
          tokens={prompt.tokens}
          selected={isActive ? (bench.search.col ?? null) : null}
          onSelect={select}
        />
        <span className="prompt-meta">
          {prompt.tokens.length} tokens · {bos ? 'with BOS' : 'no BOS'}
          {plain && ' · control tokens as text'}
        </span>
        <Described prompt={prompt} />
        <span className="prompt-tools">
          <Button
            kind="quiet"
            size="small"
            icon
            aria-label={`Edit prompt ${index + 1}`}
            onClick={() => setDraft(prompt.text)}
          >
            <Icon name="edit" />
          </Button>
          {props.onRemove && (
            <Button
              kind="quiet"
              size="small"
              icon
              aria-label={`Remove prompt ${index + 1}`}
              onClick={props.onRemove}
            >
              <Icon name="close" />
            </Button>
          )}
        </span>
      </div>
      <Outcome bench={bench} prompt={prompt} />
      {warnings.length > 0 && (
        <div className="prompt-notes">
          {warnings.map((warning) => (
            <p key={warning.code} className="field-warning">
              {warning.message}{' '}
              {warning.code === 'control_tokens' && (
                <button
                  type="button"
                  className="link-btn"
                  onClick={() => onChange(spec(current, { plain: true }))}
                >
                  Read it as plain text
                </button>
              )}
            </p>
          ))}
        </div>
      )}
      {prompt.tokenized.error && (
        <div className="prompt-notes">
          <ErrorNotice error={prompt.tokenized.error} onRetry={prompt.tokenized.retry} />
        </div>
      )}
    </div>
  )
}

/** How far the decomposition describes the prompt: a word and a figure; the sentence opens on demand. */
function Described({ prompt }: { prompt: PromptView }) {
  const { data, pending, error, retry } = prompt.trust
  if (error)
    return (
      <button type="button" className="link-btn small" onClick={retry}>
        not measured how far this is described: try again
      </button>
    )
  if (!data) return pending ? <span className="prompt-meta">measuring the fit…</span> : null
  const { word, tone } = TRUST_WORDS[data.level]
  const [shown, more] = trustParts(data)
  return (
    <Popover
      label={`How far ${prompt.name} is described`}
      trigger={
        <button type="button" className="prompt-trust">
          <span className="hidden-visually">{prompt.name} is </span>
          <span className={`badge ${tone}`}>{word}</span>{' '}
          <span className="prompt-meta">
            {shown}
            <span className="hidden-visually">{more}</span>
          </span>
        </button>
      }
    >
      <div className="hint-text">
        <p className="field-label">{prompt.name}</p>
        <p>{data.sentence}</p>
        <p className="soft">
          Described: up to 5 % of the KL with everything off. Partly: up to 25 %. Measured at{' '}
          {data.counted === 'last' ? 'the last position, the one this run counts' : 'all positions'};{' '}
          {data.fires} components fire, {figure(Number(data.fires_per_position.toPrecision(3)))} per position.
        </p>
      </div>
    </Popover>
  )
}

function NumberButton({ index, active, onClick }: { index: number; active: boolean; onClick: () => void }) {
  return (
    <button
      type="button"
      className="prompt-number"
      aria-pressed={active}
      aria-label={`Look at prompt ${index + 1}`}
      onClick={onClick}
    >
      {index + 1}
    </button>
  )
}

/** The output in one line, beside the prompt. */
function Outcome({ bench, prompt }: { bench: Workbench; prompt: PromptView }) {
  const slow = useSlow(prompt.shown.stale || prompt.shown.pending)
  const result = prompt.shown.data
  const shift = result && shiftAt(result, prompt.position)
  if (!bench.ready && !result) return <span className="outcome faint small">waiting for the weights</span>
  if (!result || !shift) return <span className="outcome">{slow && <Recomputing on what="computing" />}</span>
  const described = describeShift(shift, prompt.answer, result.components > 0)
  if (!described) return <span className="outcome" />
  return (
    <span className={`outcome ${slow ? 'stale' : ''}`}>
      <span className="outcome-arrow" aria-hidden="true">
        →
      </span>
      <span className="outcome-token">{visible(described.token)}</span>
      <span className="num">{probability(described.before)}</span>
      {described.verb !== 'is' && (
        <>
          <span className="faint" aria-hidden="true">
            →
          </span>
          <span
            className={`num outcome-after ${described.verb === 'falls' ? 'down' : described.verb === 'rises' ? 'up' : ''}`}
          >
            {probability(described.after)}
          </span>
          <span className={`badge ${described.verb}`}>{described.verb}</span>
        </>
      )}
    </span>
  )
}
