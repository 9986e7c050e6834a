/** A box for a prompt: its tokens appear while it is typed, and typing never waits for the server. */
import { useQuery } from '@tanstack/react-query'
import { type KeyboardEvent, type ReactNode, useEffect, useRef } from 'react'
import { queries } from '@/api/queries'
import { useDebounced } from '@/state/hooks'
import { Switch } from '@/ui/controls'
import { ErrorNotice } from '@/ui/surfaces'
import { TokenStrip } from './TokenStrip'
import './prompts.css'

export function PromptEditor(props: {
  id: string
  name: string
  text: string
  bos: boolean
  plain: boolean
  onText: (text: string) => void
  onBos: (bos: boolean) => void
  onPlain: (plain: boolean) => void
  onDone: () => void
  onCancel?: () => void
  focus?: boolean
  search?: boolean
  placeholder?: string
  actions: ReactNode
}) {
  const { text, bos, plain } = props
  const box = useRef<HTMLTextAreaElement>(null)
  const settled = useDebounced(text, 120)
  const started = text !== ''
  const tokens = useQuery({ ...queries.tokens(props.id, settled, bos, plain), enabled: settled !== '' })
  const answer = started ? tokens.data : undefined
  const behind = started && (settled !== text || tokens.isPlaceholderData)

  useEffect(() => {
    if (props.focus) box.current?.focus()
  }, [props.focus])

  // The box is as tall as its text.
  // biome-ignore lint/correctness/useExhaustiveDependencies: measured again for every text
  useEffect(() => {
    const element = box.current
    if (!element) return
    element.style.height = 'auto'
    element.style.height = `${Math.min(element.scrollHeight + 2, 220)}px`
  }, [text])

  const key = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return // the keys belong to the input method
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault()
      props.onDone()
    }
    if (event.key === 'Escape') {
      box.current?.blur()
      props.onCancel?.()
    }
  }
  const over = answer && answer.tokens.length > answer.limit
  return (
    <div className="editor">
      <div className="editor-line">
        <textarea
          ref={box}
          className="input mono"
          rows={1}
          aria-label={props.name}
          value={text}
          spellCheck={false}
          maxLength={20_000}
          placeholder={props.placeholder}
          data-search={props.search || undefined}
          onChange={(event) => props.onText(event.target.value)}
          onKeyDown={key}
        />
        {props.actions}
      </div>
      {(started || !props.search) && (
        <div className="editor-info">
          <span className={behind ? 'stale' : undefined}>
            {answer && <TokenStrip name={props.name} tokens={answer.tokens.slice(0, 400)} />}
            {answer && answer.tokens.length > 400 && (
              <span className="faint"> and {answer.tokens.length - 400} more</span>
            )}
          </span>
          <span className="editor-meta">
            <Switch label="BOS" name={`${props.name}: begin with BOS`} checked={bos} onChange={props.onBos} />
            {(plain || answer?.warnings.some((warning) => warning.code === 'control_tokens')) && (
              <Switch
                label="plain text"
                name={`${props.name}: read control tokens as plain text`}
                checked={plain}
                onChange={props.onPlain}
              />
            )}
            {answer && (
              <span className={`num ${over ? 'over' : ''}`}>
                {answer.tokens.length} of {answer.limit} tokens
              </span>
            )}
          </span>
        </div>
      )}
      {answer?.warnings.map((warning) => (
        <p
          key={warning.code}
          className={`field-warning ${warning.code === 'too_long' || warning.code === 'empty' ? 'bad' : ''}`}
          role="status"
        >
          {warning.message}
        </p>
      ))}
      {started && <ErrorNotice error={tokens.error} onRetry={() => tokens.refetch()} />}
    </div>
  )
}
