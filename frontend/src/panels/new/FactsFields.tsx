import { useQuery } from '@tanstack/react-query'
import { useMemo, useState } from 'react'
import { MOST_ASKED, newRun } from '@/api/newRun'
import type { Source } from '@/api/types'
import { plural, probability } from '@/api/words'
import { useDebounced } from '@/state/hooks'
import { type Config, withValue } from '@/state/newRun'
import { Button, Field } from '@/ui/controls'
import { ErrorNotice, Recomputing } from '@/ui/surfaces'
import './new.css'

interface Relation {
  name: string
  templates: string[]
  held_out?: string[]
  facts: Record<string, string>
}

interface Props {
  source: Source
  config: Config
  onConfig: (config: Config) => void
}

const EMPTY: Relation = { name: '', templates: [], facts: {} }

/** The relations of a run over facts, one after the other: born in, plays, capital of. */
export function FactsFields({ source, config, onConfig }: Props) {
  const data = config.data as { relations?: Relation[]; bos?: boolean }
  const relations = data.relations?.length ? data.relations : [{ ...EMPTY, name: 'relation' }]
  // A form keeps its text while it is typed, so each has an identity of its own that outlives a removal before it.
  const [ids, setIds] = useState(() => relations.map((_, place) => place))
  const set = (next: Relation[]) => onConfig(withValue(config, ['data', 'relations'], next) as Config)
  return (
    <>
      {relations.map((relation, place) => (
        <fieldset key={ids[place] ?? place} className="relation">
          <legend>{relation.name || `Relation ${place + 1}`}</legend>
          <RelationFields
            source={source}
            bos={data.bos === true}
            relation={relation}
            onRelation={(changes) =>
              set(relations.map((one, at) => (at === place ? { ...one, ...changes } : one)))
            }
          />
          {relations.length > 1 && (
            <Button
              size="small"
              aria-label={`Remove the relation ${relation.name || place + 1}`}
              onClick={() => {
                setIds(ids.filter((_, at) => at !== place))
                set(relations.filter((_, at) => at !== place))
              }}
            >
              Remove this relation
            </Button>
          )}
        </fieldset>
      ))}
      <Button
        onClick={() => {
          setIds([...ids, Math.max(-1, ...ids) + 1])
          set([...relations, { ...EMPTY, name: `relation ${relations.length + 1}` }])
        }}
      >
        Add a relation
      </Button>
    </>
  )
}

/** Templates with {} for the subject, and facts; the first template asks what is known. */
function RelationFields({
  source,
  bos,
  relation,
  onRelation: set,
}: {
  source: Source
  bos: boolean
  relation: Relation
  onRelation: (changes: Partial<Relation>) => void
}) {
  const [facts, setFacts] = useState(factText(relation.facts))
  const [first] = relation.templates
  const wanted = first?.includes('{}')
    ? Object.entries(relation.facts)
        .slice(0, MOST_ASKED)
        .map(([subject, answer]) => ({ text: first.replace('{}', subject), answer }))
    : []
  const settled = useDebounced(JSON.stringify(wanted), 600)
  const prompts: { text: string; answer: string }[] = useMemo(() => JSON.parse(settled), [settled])
  const asked = useQuery(newRun.asked(source, prompts, bos))
  const known = Object.entries(relation.facts).filter((_, place) => asked.data?.items[place]?.rank === 1)
  const fields = [
    ['Templates', 'one a line, {} for the subject; trained on', 'templates'],
    ['Held-out templates', 'measured and never trained on', 'held_out'],
  ] as const
  return (
    <>
      <Field label="Relation">
        {(id) => (
          <input
            id={id}
            className="input"
            value={relation.name}
            onChange={(event) => set({ name: event.target.value })}
          />
        )}
      </Field>
      {fields.map(([label, hint, key]) => (
        <Field key={key} label={label} hint={hint}>
          {(id) => (
            <textarea
              id={id}
              className="input mono"
              rows={3}
              defaultValue={(relation[key] ?? []).join('\n')}
              placeholder="{} plays professional"
              onChange={(event) =>
                set({ [key]: event.target.value.split('\n').filter((line) => line.trim()) })
              }
            />
          )}
        </Field>
      ))}
      <Field label="Facts" hint="one a line: subject => answer">
        {(id) => (
          <textarea
            id={id}
            className="input mono"
            rows={5}
            value={facts}
            placeholder="Tiger Woods => golf"
            onChange={(event) => {
              setFacts(event.target.value)
              set({ facts: readFacts(event.target.value) })
            }}
          />
        )}
      </Field>
      <ErrorNotice error={asked.error} />
      <div className="row">
        <Recomputing on={asked.isFetching} what="Asking the model" />
        {asked.data && prompts.length > 0 && (
          <span className="small soft" role="status">
            {plural(known.length, 'fact')} of {prompts.length} known after the first template
          </span>
        )}
        <span className="grow" />
        {known.length > 0 && known.length < prompts.length && (
          <Button
            size="small"
            onClick={() => {
              set({ facts: Object.fromEntries(known) })
              setFacts(factText(Object.fromEntries(known)))
            }}
          >
            Keep what it knows ({known.length})
          </Button>
        )}
      </div>
      {asked.data && prompts.length > 0 && (
        <ul className="fact-list small">
          {prompts.map((prompt, place) => {
            const answer = asked.data.items[place]
            if (!answer || answer.rank === 1) return null
            return (
              <li key={prompt.text}>
                <span className="mono">{prompt.text}</span>{' '}
                <span className={answer.fault ? 'field-error' : 'soft'}>
                  {answer.fault ??
                    `the answer is number ${answer.rank}, ${probability(answer.probability ?? 0)}`}
                </span>
              </li>
            )
          })}
        </ul>
      )}
    </>
  )
}

const factText = (facts: Record<string, string>) =>
  Object.entries(facts)
    .map(([subject, answer]) => `${subject} => ${answer.trim()}`)
    .join('\n')

function readFacts(text: string): Record<string, string> {
  const pairs = text.split('\n').flatMap((line) => {
    const [subject, answer] = line.split(/\s*(?:=>|→|\t)\s*/)
    return subject?.trim() && answer?.trim() ? [[subject.trim(), ` ${answer.trim()}`] as const] : []
  })
  return Object.fromEntries(pairs)
}
