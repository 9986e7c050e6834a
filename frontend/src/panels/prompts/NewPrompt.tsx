import { useState } from 'react'
import type { Decomposition } from '@/api/types'
import { SPLIT_WORDS } from '@/api/words'
import type { PromptSpec } from '@/state/prompts'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Popover } from '@/ui/surfaces'
import { PromptEditor } from './PromptEditor'
import './prompts.css'

/** A field for a new prompt, and a menu of the run's own prompts. */
export function NewPrompt(props: {
  decomposition: Decomposition
  bos: boolean
  taken: string[]
  onAdd: (spec: PromptSpec) => void
}) {
  const [text, setText] = useState('')
  const [bos, setBos] = useState(props.bos)
  const [plain, setPlain] = useState(false)
  const add = () => {
    if (text === '') return
    props.onAdd({ text, bos, ...(plain ? { plain } : {}) })
    setText('')
    setPlain(false)
  }
  const offers = props.decomposition.prompts.filter((prompt) => !props.taken.includes(prompt.text))
  return (
    <div className="new-prompt">
      <PromptEditor
        id={props.decomposition.id}
        name="New prompt"
        placeholder="Type any other prompt to compare…"
        search
        text={text}
        bos={bos}
        onText={setText}
        onBos={setBos}
        plain={plain}
        onPlain={setPlain}
        onDone={add}
        onCancel={() => setText('')}
        actions={
          <>
            <Button onClick={add} disabled={text === ''}>
              <Icon name="plus" /> Add<span className="wide"> prompt</span>
            </Button>
            {offers.length > 0 && (
              <Popover label="Prompts of this run" trigger={<Button kind="quiet">From the run</Button>}>
                <ul className="offers">
                  {offers.map((prompt) => (
                    <li key={`${prompt.text}${prompt.bos}`}>
                      <button
                        type="button"
                        onClick={() => props.onAdd({ text: prompt.text, bos: prompt.bos })}
                      >
                        <span className="mono">{prompt.text}</span>{' '}
                        <span className="badge">{SPLIT_WORDS[prompt.split]}</span>
                      </button>
                    </li>
                  ))}
                </ul>
              </Popover>
            )}
          </>
        }
      />
    </div>
  )
}
