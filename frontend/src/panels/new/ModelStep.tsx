import { useQuery } from '@tanstack/react-query'
import { type FormEvent, useState } from 'react'
import { newRun } from '@/api/newRun'
import type { ModelChoice, ModelView, Source } from '@/api/types'
import { count, magnitude } from '@/api/words'
import { Button, Field, Seg } from '@/ui/controls'
import { ErrorNotice, Notice, Panel, Skeleton } from '@/ui/surfaces'
import './new.css'

type Place = 'here' | 'hub' | 'folder'

/** Which model: one at hand, one of the hub, or a folder or GGUF file of the server's. */
export function ModelStep({
  source,
  onSource,
}: {
  source: Source | null
  onSource: (source: Source) => void
}) {
  const models = useQuery(newRun.models())
  const view = useQuery(newRun.inspected(source))
  const [place, setPlace] = useState<Place>('here')
  const [text, setText] = useState('')
  const submit = (event: FormEvent) => {
    event.preventDefault()
    const typed = text.trim()
    if (typed === '') return
    onSource(
      place === 'hub'
        ? { kind: 'hub', repo: typed, revision: 'main', license: null }
        : { kind: 'folder', path: typed, license: null },
    )
  }
  const chosen = JSON.stringify(source)
  return (
    <Panel title="1 · Model" aside="the weights to take apart">
      <div className="pad new-step">
        <Seg<Place>
          label="Where the model is"
          value={place}
          onChange={(next) => {
            setPlace(next)
            setText('')
          }}
          options={[
            { value: 'here', label: 'At hand' },
            { value: 'folder', label: 'Folder or GGUF' },
            { value: 'hub', label: 'Hub' },
          ]}
        />
        {place === 'here' ? (
          <>
            <ErrorNotice error={models.error} onRetry={() => models.refetch()} />
            {models.isPending && <Skeleton height={60} label="Loading the models" />}
            <fieldset className="model-list">
              <legend className="hidden-visually">Model</legend>
              {models.data?.items.map((item) => (
                <label key={JSON.stringify(item.source)} className="model-choice">
                  <input
                    type="radio"
                    name="model"
                    checked={JSON.stringify(item.source) === chosen}
                    onChange={() => onSource(item.source)}
                  />
                  <span>
                    <b>{item.name}</b>
                    <span className="small soft block">{whereOf(item)}</span>
                  </span>
                </label>
              ))}
            </fieldset>
          </>
        ) : (
          <form className="model-form" onSubmit={submit}>
            <Field
              label={place === 'hub' ? 'Repository' : 'Path on the server'}
              hint={
                place === 'hub'
                  ? 'owner/name of a causal language model with safetensors'
                  : `a folder with config.json and safetensors, or a .gguf file, inside ${
                      models.data?.rooms.join(' or ') ?? 'a folder that is allowed'
                    }. Others are added with ${models.data?.setting ?? 'a setting'}.`
              }
            >
              {(id, described) => (
                <input
                  id={id}
                  {...described}
                  className="input mono"
                  value={text}
                  placeholder={
                    place === 'hub' ? 'HuggingFaceTB/SmolLM2-135M' : `${models.data?.rooms[0] ?? ''}/…`
                  }
                  onChange={(event) => setText(event.target.value)}
                />
              )}
            </Field>
            <Button type="submit">Open</Button>
          </form>
        )}
        {view.isFetching && <Skeleton height={64} label="Looking at the model" />}
        <ErrorNotice error={view.error} onRetry={() => view.refetch()} />
        {view.data && !view.isFetching && <About model={view.data} />}
      </div>
    </Panel>
  )
}

function About({ model }: { model: ModelView }) {
  const facts: [string, string][] = [
    ['Architecture', model.architecture],
    [
      'Size',
      `${magnitude(model.parameters)} parameters, ${model.layers} layers of width ${count(model.d_model)}`,
    ],
    ['Tokenizer', `${model.tokenizer}; up to ${count(model.context_length)} tokens a prompt`],
    ['Licence', model.license ?? 'none is stated'],
    [
      'Memory',
      `${bytes(model.weight_bytes)} for its weights; ${bytes(model.available_bytes)} are free: ${
        model.weight_bytes < model.available_bytes ? 'it fits' : 'it does not fit'
      }`,
    ],
  ]
  return (
    <div role="status" aria-label="About the model">
      <dl className="model-about">
        <div>
          <dt>Name</dt>
          <dd>
            <b>{model.name}</b>
          </dd>
        </div>
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {model.notes.map((note) => (
        <Notice key={note} tone="warn">
          {note}
        </Notice>
      ))}
    </div>
  )
}

function bytes(size: number): string {
  const gigabytes = size / 2 ** 30
  if (gigabytes >= 1) return `${gigabytes.toFixed(1)} GiB`
  return size >= 2 ** 20 ? `${Math.round(size / 2 ** 20)} MiB` : `${Math.ceil(size / 2 ** 10)} KiB`
}

function whereOf({ where, source }: ModelChoice): string {
  if (where === 'folder') return 'in a folder of this server'
  return source.kind === 'hub' ? 'from the Hugging Face hub' : 'comes with Unweave'
}
