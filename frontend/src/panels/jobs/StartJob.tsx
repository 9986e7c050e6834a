import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { client, unwrap } from '@/api/client'
import { queries } from '@/api/queries'
import type { JobRequest } from '@/api/types'
import { duration } from '@/api/words'
import { Button, Field } from '@/ui/controls'
import { ErrorNotice, Notice, Panel, Skeleton } from '@/ui/surfaces'

/** Start a decomposition from a preset; what is not filled in stays as the preset has it. */
export function StartJob() {
  const presets = useQuery(queries.presets())
  const [chosen, setChosen] = useState<string | null>(null)
  const [name, setName] = useState('')
  const [steps, setSteps] = useState('')
  const [more, setMore] = useState('')
  const [wrong, setWrong] = useState<string | null>(null)
  const queryClient = useQueryClient()
  const start = useMutation({
    mutationFn: (body: JobRequest) => unwrap(client.POST('/api/jobs', { body })),
    onSuccess: () => {
      setName('')
      return queryClient.invalidateQueries({ queryKey: ['jobs'] })
    },
  })
  const items = presets.data?.items ?? []
  const preset = items.find((one) => one.name === chosen) ?? items[0]
  const usualSteps = preset && typeof preset.config.steps === 'number' ? String(preset.config.steps) : ''

  const submit = () => {
    if (!preset) return
    const overrides = readOverrides(steps, more)
    if (typeof overrides === 'string') {
      setWrong(overrides)
      return
    }
    setWrong(null)
    start.mutate({ preset: preset.name, name: name === '' ? null : name, overrides })
  }
  return (
    <Panel title="Start a decomposition">
      <div className="pad">
        <ErrorNotice error={presets.error} onRetry={() => presets.refetch()} />
        {presets.isPending && <Skeleton height={120} label="Loading the presets" />}
        <fieldset className="presets">
          <legend className="hidden-visually">Preset</legend>
          {items.map((one) => (
            <label key={one.name} className="preset">
              <input
                type="radio"
                name="preset"
                value={one.name}
                checked={one === preset}
                onChange={() => setChosen(one.name)}
              />
              <span>
                <b>{one.title}</b> <span className="mono small soft">{one.name}</span>
                <span className="small soft block">{one.description}</span>
                {one.minutes !== null && one.minutes !== undefined && (
                  <span className="small soft block">
                    about {duration(one.minutes * 60)} on two CPU cores
                  </span>
                )}
              </span>
            </label>
          ))}
        </fieldset>
        {preset && (
          <form
            className="job-form"
            onSubmit={(event) => {
              event.preventDefault()
              submit()
            }}
          >
            <Field label="Name" hint="lower-case letters, digits, hyphens">
              {(id) => (
                <input
                  id={id}
                  className="input mono"
                  value={name}
                  placeholder={`${preset.name}-2`}
                  maxLength={100}
                  pattern="[a-z0-9][a-z0-9\-]*"
                  onChange={(event) => setName(event.target.value)}
                />
              )}
            </Field>
            <Field label="Steps" hint={usualSteps && `the preset: ${usualSteps}`}>
              {(id) => (
                <input
                  id={id}
                  className="input mono"
                  inputMode="numeric"
                  value={steps}
                  placeholder={usualSteps}
                  onChange={(event) => setSteps(event.target.value)}
                />
              )}
            </Field>
            <Button type="submit" kind="primary" disabled={start.isPending}>
              {start.isPending ? 'Starting…' : 'Start'}
            </Button>
            <details className="more wide-field">
              <summary>Edit the config</summary>
              <Field label="Overrides" hint="A JSON object with dotted keys, set on top of the preset.">
                {(id) => (
                  <textarea
                    id={id}
                    className="input mono"
                    rows={3}
                    value={more}
                    placeholder='{"seed": 1}'
                    onChange={(event) => setMore(event.target.value)}
                  />
                )}
              </Field>
              {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard */}
              <pre className="config" tabIndex={0}>
                {JSON.stringify(preset.config, null, 2)}
              </pre>
            </details>
          </form>
        )}
        {wrong && (
          <Notice tone="error" onDismiss={() => setWrong(null)}>
            {wrong}
          </Notice>
        )}
        <ErrorNotice error={start.error} />
        {start.data && (
          <Notice tone="good" onDismiss={() => start.reset()}>
            “{start.data.name}” is in the queue; its progress is below.
          </Notice>
        )}
      </div>
    </Panel>
  )
}

/** The overrides a form stands for, or a sentence about what cannot be read. */
function readOverrides(steps: string, more: string): Record<string, unknown> | string {
  let overrides: Record<string, unknown> = {}
  if (more.trim() !== '') {
    try {
      const read: unknown = JSON.parse(more)
      if (typeof read !== 'object' || read === null || Array.isArray(read))
        return 'The overrides must be one JSON object, like {"seed": 1}.'
      overrides = { ...read }
    } catch {
      return 'The overrides are not JSON that can be read. They look like {"seed": 1}; keys and texts stand in double quotes.'
    }
  }
  if (steps.trim() === '') return overrides
  if (!/^\d{1,8}$/.test(steps.trim()) || Number(steps) < 1)
    return `“${steps}” is not a number of steps; write a whole number of 1 or more.`
  return { ...overrides, steps: Number(steps) }
}
