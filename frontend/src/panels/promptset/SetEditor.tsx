import { useState } from 'react'
import { readPrompts } from '@/api/newRun'
import { MOST_IN_SET, ofFile, type SetPrompt } from '@/state/promptSet'
import { Button, Field, Switch } from '@/ui/controls'
import { ErrorNotice } from '@/ui/surfaces'
import './promptset.css'

/** Prompts, typed or pasted, or from a CSV. */
export function SetEditor(props: { bos: boolean; room: number; onAdd: (prompts: SetPrompt[]) => void }) {
  const [text, setText] = useState('')
  const [bos, setBos] = useState(props.bos)
  const [error, setError] = useState<unknown>(null)
  const add = async (content: string, name: string) => {
    try {
      const { items } = await readPrompts(content, name)
      if (items.length > props.room)
        throw new Error(`A set holds ${MOST_IN_SET} prompts at most; there is room for ${props.room} more.`)
      props.onAdd(ofFile(items, bos))
      setError(null)
      setText('')
    } catch (cause) {
      setError(cause)
    }
  }
  const typed = /^text\s*[,\t]/i.test(text.trimStart()) ? 'typed.csv' : 'typed.txt'
  return (
    <div className="set-editor">
      <Field
        label="Add prompts"
        hint="One a line, its answer after =>. Or paste CSV with the columns text and answer."
      >
        {(id, described) => (
          <textarea
            id={id}
            {...described}
            className="input mono"
            rows={3}
            value={text}
            placeholder={'Tiger Woods is an American professional => golf'}
            onChange={(event) => setText(event.target.value)}
          />
        )}
      </Field>
      <div className="row">
        <Button kind="primary" disabled={text.trim() === ''} onClick={() => void add(text, typed)}>
          Add
        </Button>
        <label className="btn">
          CSV file…
          <input
            type="file"
            className="hidden-visually"
            accept=".csv,.tsv,.txt,.jsonl"
            onChange={async (event) => {
              const file = event.target.files?.[0]
              event.target.value = ''
              if (file) await add(await file.text(), file.name)
            }}
          />
        </label>
        <Switch label="BOS" checked={bos} onChange={setBos} />
      </div>
      <ErrorNotice error={error} />
    </div>
  )
}
