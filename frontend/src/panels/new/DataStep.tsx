import type { PromptData, Source } from '@/api/types'
import { plural } from '@/api/words'
import { bosOf, type Config, type DataKind, kindOf, promptsOf, withValue } from '@/state/newRun'
import { Field, Seg } from '@/ui/controls'
import { Panel } from '@/ui/surfaces'
import { FactsFields } from './FactsFields'
import './new.css'
import { PromptsStep } from './PromptsStep'

const WORDS: Record<DataKind, string> = {
  prompts: 'A few prompts: what the model needs for them, and nothing else, is taken apart.',
  facts: 'Many facts of one kind: subjects put into templates, each with the token that follows.',
  corpus: 'Running text: the matrices as a whole, without a question in mind.',
}

/** What the run reads: prompts, facts by template, or running text. */
export function DataStep(props: {
  source: Source
  config: Config
  onKind: (kind: DataKind) => void
  onConfig: (config: Config) => void
}) {
  const { config, onConfig } = props
  const kind = kindOf(config)
  const set = (path: string[], value: unknown) => onConfig(withValue(config, path, value) as Config)
  /** The second stream begins its windows as the prompts begin. */
  const setBos = (bos: boolean) => {
    const next = withValue(config, ['data', 'bos'], bos) as Config
    onConfig(next.rest ? (withValue(next, ['rest', 'text', 'bos'], bos) as Config) : next)
  }
  return (
    <Panel title="3 · Data" aside={aside(config)}>
      <div className="pad new-step">
        <Seg<DataKind>
          label="Kind of data"
          value={kind}
          onChange={props.onKind}
          options={[
            { value: 'prompts', label: 'Prompts' },
            { value: 'facts', label: 'Facts' },
            { value: 'corpus', label: 'Running text' },
          ]}
        />
        <p className="small soft">{WORDS[kind]}</p>
        {kind === 'prompts' && (
          <PromptsStep
            source={props.source}
            prompts={promptsOf(config)}
            bos={bosOf(config)}
            onPrompts={(prompts: PromptData[]) => set(['data', 'prompts'], prompts)}
            onBos={setBos}
          />
        )}
        {kind === 'facts' && <FactsFields source={props.source} config={config} onConfig={onConfig} />}
        {kind === 'corpus' && <CorpusFields config={config} set={set} />}
      </div>
    </Panel>
  )
}

function CorpusFields({ config, set }: { config: Config; set: (path: string[], value: unknown) => void }) {
  const data = config.data as { path?: string; shipped?: string }
  const own = data.shipped === undefined
  return (
    <>
      <Seg
        label="Where the text is"
        value={own ? 'own' : 'shipped'}
        onChange={(where) =>
          set(
            ['data'],
            where === 'own' ? { kind: 'corpus', path: '' } : { kind: 'corpus', shipped: 'smollm2-samples' },
          )
        }
        options={[
          { value: 'shipped', label: 'Comes with Unweave' },
          { value: 'own', label: 'A file or folder' },
        ]}
      />
      {own ? (
        <Field
          label="Path on the server"
          hint="a text file or a folder of them, inside the home folder’s “texts”"
        >
          {(id, described) => (
            <input
              id={id}
              {...described}
              className="input mono"
              value={data.path ?? ''}
              onChange={(event) => set(['data', 'path'], event.target.value)}
            />
          )}
        </Field>
      ) : (
        <p className="small soft">1,536 texts that SmolLM2 wrote, about 122,000 of its tokens.</p>
      )}
    </>
  )
}

function aside(config: Config): string {
  const prompts = promptsOf(config)
  if (kindOf(config) !== 'prompts' || prompts.length === 0) return ''
  const held = prompts.filter((prompt) => prompt.split === 'held_out').length
  return `${plural(prompts.length, 'prompt')}, ${held} held out`
}
