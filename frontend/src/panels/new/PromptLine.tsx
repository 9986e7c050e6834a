import type { AskedPrompt, PromptData } from '@/api/types'
import { probability, SPLIT_WORDS, visible } from '@/api/words'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Piece } from '@/ui/Piece'
import './new.css'

type Split = keyof typeof SPLIT_WORDS

/** One prompt of a run: its fields, and what the model makes of it. */
export function PromptLine(props: {
  number: number
  prompt: PromptData
  asked: AskedPrompt | undefined
  onChange: (prompt: PromptData) => void
  onRemove: () => void
}) {
  const { number, prompt, asked, onChange } = props
  const suggestion = asked?.suggestion
  return (
    <li className="prompt-line">
      <div className="prompt-fields">
        <input
          className="input mono"
          aria-label={`Prompt ${number}`}
          value={prompt.text}
          onChange={(event) => event.target.value !== '' && onChange({ ...prompt, text: event.target.value })}
        />
        <input
          className="input mono"
          aria-label={`Answer of prompt ${number}`}
          placeholder="answer"
          value={prompt.answer ?? ''}
          aria-invalid={asked?.fault ? true : undefined}
          onChange={(event) => onChange({ ...prompt, answer: event.target.value || null })}
        />
        <select
          className="input"
          aria-label={`Use of prompt ${number}`}
          value={prompt.split ?? 'train'}
          onChange={(event) => onChange({ ...prompt, split: event.target.value as Split })}
        >
          {Object.entries(SPLIT_WORDS).map(([split, words]) => (
            <option key={split} value={split}>
              {words}
            </option>
          ))}
        </select>
        <input
          className="input"
          aria-label={`Fact of prompt ${number}`}
          placeholder="about (optional)"
          value={prompt.fact ?? ''}
          onChange={(event) => onChange({ ...prompt, fact: event.target.value || null })}
        />
        <Button kind="quiet" icon aria-label={`Remove prompt ${number}`} onClick={props.onRemove}>
          <Icon name="close" />
        </Button>
      </div>
      {asked && (
        <div className="prompt-asked small">
          <span className="asked-tokens">
            {asked.tokens.map((token, place) => (
              <span key={place} className="asked-token mono">
                <Piece text={token.piece} />
              </span>
            ))}
          </span>
          {asked.fault ? (
            <span className="field-error">{asked.fault}</span>
          ) : (
            <span className="soft">{answered(asked)}</span>
          )}
          {suggestion != null && (
            <button
              type="button"
              className="link-btn"
              onClick={() => onChange({ ...prompt, answer: suggestion })}
            >
              Use “{visible(suggestion)}”{asked.fault ? '' : ', which is likelier'}
            </button>
          )}
        </div>
      )}
    </li>
  )
}

/** The answer's rank and probability, or what the model says instead. */
function answered(asked: AskedPrompt): string {
  const [first] = asked.likeliest ?? []
  const best = first ? `“${visible(first.piece)}” ${probability(first.probability)}` : ''
  if (asked.rank == null || asked.probability == null) return `The likeliest next token: ${best}`
  if (asked.rank === 1) return `It knows the answer: ${probability(asked.probability)}, the likeliest token.`
  return `The answer is number ${asked.rank}, ${probability(asked.probability)}; the likeliest is ${best}.`
}
