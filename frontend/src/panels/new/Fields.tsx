import { type ReactNode, useEffect, useState } from 'react'
import type { FieldSchema, Schemas } from '@/api/newRun'
import { Field } from '@/ui/controls'
import './new.css'

/** Steps of their own, or too long for a form. */
const ELSEWHERE = ['name', 'title', 'target', 'sites', 'data', 'checks', 'kind']

interface Props {
  schemas: Schemas
  schema: FieldSchema
  value: unknown
  path: string[]
  onChange: (path: string[], value: unknown) => void
}

/** The fields of a config, by the schema the server states: descriptions, defaults and choices are its own. */
export function Fields(props: Props) {
  const value = (props.value ?? {}) as Record<string, unknown>
  const schema = resolved(props.schemas, props.schema, value)
  const names = Object.keys(schema.properties ?? {}).filter((name) => !ELSEWHERE.includes(name))
  return (
    <div className="setting-list">
      {names.map((name) => (
        <One
          key={name}
          {...props}
          name={name}
          schema={schema.properties?.[name] ?? {}}
          value={value[name]}
          path={[...props.path, name]}
        />
      ))}
    </div>
  )
}

function One(props: Props & { name: string }) {
  const { name, value, path, onChange } = props
  const schema = resolved(props.schemas, props.schema, value)
  const hint = props.schema.description ?? schema.description
  const label = name.replaceAll('_', ' ')
  if (schema.properties)
    return (
      <Fold label={label} hint={hint}>
        <Fields {...props} schema={schema} />
      </Fold>
    )
  if (schema.items && Array.isArray(value) && value.some((item) => typeof item === 'object'))
    return (
      <Fold label={label} hint={hint}>
        {value.map((item, place) => (
          <Fold key={place} label={String((item as { kind?: string }).kind ?? place).replaceAll('_', ' ')}>
            <Fields {...props} schema={schema.items ?? {}} value={item} path={[...path, String(place)]} />
          </Fold>
        ))}
      </Fold>
    )
  const choices = schema.enum?.map(String)
  if (choices || schema.type === 'boolean')
    return (
      <Field label={label} hint={hint}>
        {(id) => (
          <select
            id={id}
            className="input"
            value={String(value ?? schema.default ?? props.schema.default)}
            onChange={(event) => onChange(path, choices ? event.target.value : event.target.value === 'true')}
          >
            {(choices ?? ['true', 'false']).map((choice) => (
              <option key={choice}>{choice}</option>
            ))}
          </select>
        )}
      </Field>
    )
  return <Typed {...props} label={label} hint={hint} fallback={props.schema.default} />
}

function Fold({ label, hint, children }: { label: string; hint?: string; children: ReactNode }) {
  return (
    <details className="setting-fold">
      <summary>{label}</summary>
      {hint && <p className="small soft">{hint}</p>}
      {children}
    </details>
  )
}

/** A number, a word or a list, typed; it counts once it is left. The server says what is wrong with it. */
function Typed(props: Props & { label: string; hint?: string; fallback: unknown }) {
  const { value, path, onChange, fallback } = props
  const [text, setText] = useState(shown(value))
  useEffect(() => setText(shown(value)), [value])
  return (
    <Field label={props.label} hint={props.hint}>
      {(id) => (
        <input
          id={id}
          className="input mono"
          value={text}
          placeholder={fallback === undefined || fallback === null ? 'none' : shown(fallback)}
          onChange={(event) => setText(event.target.value)}
          onBlur={() => text !== shown(value) && onChange(path, text.trim() === '' ? undefined : read(text))}
        />
      )}
    </Field>
  )
}

const shown = (value: unknown) =>
  value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value)

function read(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** A schema with its references followed; of several, the one of the value's kind, or the one that is not null. */
function resolved(schemas: Schemas, schema: FieldSchema, value: unknown): FieldSchema {
  const name = schema.$ref?.split('/').at(-1)
  if (name) return resolved(schemas, schemas[name] ?? {}, value)
  const options = (schema.oneOf ?? schema.anyOf ?? []).map((one) => resolved(schemas, one, value))
  if (options.length === 0) return schema
  const kind = (value as { kind?: unknown } | null | undefined)?.kind
  const objects = options.filter((one) => one.properties)
  if (objects.length > 0)
    return objects.find((one) => one.properties?.kind?.const === kind) ?? (value ? (objects[0] ?? {}) : {})
  const [first, ...more] = options.filter((one) => one.type !== 'null')
  return first && more.length === 0 ? first : {}
}
