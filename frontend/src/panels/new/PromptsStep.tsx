import { useQuery } from '@tanstack/react-query'
import { type ReactNode, useState } from 'react'
import { newRun, readPrompts } from '@/api/newRun'
import type { AskedPrompt, PromptData, Source } from '@/api/types'
import { plural } from '@/api/words'
import { useDebounced } from '@/state/hooks'
import { Button, Field, Switch } from '@/ui/controls'
import { ErrorNotice, Recomputing } from '@/ui/surfaces'
import './new.css'
import { PromptLine } from './PromptLine'

/** Prompts, typed, pasted or from a file; the model is asked each of them at once. */
export function PromptsStep(props: {
  source: Source
  prompts: PromptData[]
  bos: boolean
  onPrompts: (prompts: PromptData[]) => void
  onBos: (bos: boolean) => void
}) {
  const { source, prompts, bos, onPrompts } = props
  const [text, setText] = useState('')
  const [error, setError] = useState<unknown>(null)
  const settled = useDebounced(prompts, 500)
  const asked = useQuery(newRun.asked(source, settled, bos))
  const answers = settled === prompts && !asked.isPlaceholderData ? (asked.data?.items ?? []) : []
  const add = async (content: string, name: string) => {
    try {
      const read = await readPrompts(content, name)
      onPrompts([...prompts, ...read.items])
      setError(null)
      setText('')
    } catch (cause) {
      setError(cause)
    }
  }
  const known = prompts.filter((_, place) => answers[place]?.rank === 1)
  const faults = answers.filter((answer) => answer.fault).length
  return (
    <>
      <div className="prompt-entry">
        <Field
          label="Prompts"
          hint="One a line, its answer after =>. Or paste CSV or JSON lines from a file (text, answer, split, fact)."
        >
          {(id, described) => (
            <textarea
              id={id}
              {...described}
              className="input mono"
              rows={3}
              value={text}
              placeholder={
                'Tiger Woods plays professional => golf\nKobe Bryant plays professional => basketball'
              }
              onChange={(event) => setText(event.target.value)}
            />
          )}
        </Field>
        <div className="row">
          <Button kind="primary" disabled={text.trim() === ''} onClick={() => add(text, formatOf(text))}>
            Add
          </Button>
          <FileButton onText={add}>Upload a file</FileButton>
          <Switch label="Begin each with the model’s BOS token" checked={bos} onChange={props.onBos} />
        </div>
      </div>
      <ErrorNotice error={error ?? asked.error} />
      {prompts.length > 0 && (
        <>
          <ol className="prompt-lines" aria-label="Prompts of the run">
            {prompts.map((prompt, place) => (
              <PromptLine
                key={place}
                number={place + 1}
                prompt={prompt}
                asked={answers[place]}
                onChange={(next) => onPrompts(prompts.map((one, at) => (at === place ? next : one)))}
                onRemove={() => onPrompts(prompts.filter((_, at) => at !== place))}
              />
            ))}
          </ol>
          <div className="row">
            <Recomputing on={asked.isFetching || settled !== prompts} what="Asking the model" />
            {answers.length > 0 && (
              <span className="small soft" role="status">
                {summary(prompts, answers, known.length, faults)}
              </span>
            )}
            <span className="grow" />
            {answers.length > 0 && known.length > 0 && known.length < prompts.length && (
              <Button size="small" onClick={() => onPrompts(known)}>
                Keep what it knows ({known.length})
              </Button>
            )}
            <Button size="small" kind="quiet" onClick={() => onPrompts([])}>
              Remove all
            </Button>
          </div>
        </>
      )}
    </>
  )
}

function summary(prompts: PromptData[], answers: AskedPrompt[], known: number, faults: number): string {
  const unknown = prompts.length - known - faults
  const parts = [`${plural(known, 'answer')} the model finds likeliest`]
  if (unknown > 0) parts.push(`${unknown} it does not`)
  if (faults > 0) parts.push(`${faults} that cannot be used`)
  if (prompts.length > answers.length) parts.push(`the first ${answers.length} were asked`)
  return `${parts.join(', ')}.`
}

/** What a pasted text looks like, as the name of a file. */
function formatOf(text: string): string {
  const start = text.trimStart()
  if (/^[{[]/.test(start)) return 'pasted.jsonl'
  return /^text\s*[,\t]|^text\s*$/im.test(start.split('\n')[0] ?? '') ? 'pasted.csv' : 'pasted.txt'
}

function FileButton({
  onText,
  children,
}: {
  onText: (text: string, name: string) => void
  children: ReactNode
}) {
  return (
    <label className="btn file-button">
      {children}
      <input
        type="file"
        className="hidden-visually"
        accept=".txt,.csv,.tsv,.jsonl,.ndjson,.json,text/plain"
        onChange={async (event) => {
          const file = event.target.files?.[0]
          event.target.value = ''
          if (file) onText(await file.text(), file.name)
        }}
      />
    </label>
  )
}
