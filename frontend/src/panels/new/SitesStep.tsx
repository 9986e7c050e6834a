import { useEffect, useState } from 'react'
import type { ModelView, ModuleView } from '@/api/types'
import { count, magnitude, plural } from '@/api/words'
import { type Family, families, matchedBy, patternsFor } from '@/state/sites'
import { Field } from '@/ui/controls'
import { Panel } from '@/ui/surfaces'
import './new.css'

/** Which matrices: ticked in the tree of the model, or written as patterns; each follows the other. */
export function SitesStep(props: {
  model: ModelView
  patterns: string[]
  onPatterns: (patterns: string[]) => void
}) {
  const { model, patterns, onPatterns } = props
  const usable = model.modules.filter((module) => !module.refused)
  const refused = model.modules.filter((module) => module.refused)
  const matched = matchedBy(patterns, model.modules)
  const chosen = new Set(matched.map((module) => module.path))
  const [text, setText] = useState(patterns.join('\n'))
  useEffect(() => {
    setText((old) => (lines(old).join('\n') === patterns.join('\n') ? old : patterns.join('\n')))
  }, [patterns])
  const set = (modules: ModuleView[], on: boolean) => {
    const next = new Set(chosen)
    for (const module of modules) on ? next.add(module.path) : next.delete(module.path)
    onPatterns(patternsFor([...next], model.modules))
  }
  const wrong = matched.find((module) => module.refused)
  const idle = patterns.find((pattern) => matchedBy([pattern], model.modules).length === 0)
  return (
    <Panel
      title="2 · Sites"
      aside={`${plural(matched.length, 'matrix', 'matrices')}, ${magnitude(
        matched.reduce((sum, module) => sum + module.parameters, 0),
      )} parameters`}
    >
      <div className="pad new-step">
        <p className="small soft">
          Each matrix that is chosen becomes a sum of components. Few matrices make a run quick; for facts,
          what the MLPs of early layers write is a good start.
        </p>
        <div className="families">
          {families(usable).map((family) => (
            <FamilyRow key={family.name} family={family} chosen={chosen} onSet={set} />
          ))}
        </div>
        <Field
          label="The same as patterns"
          hint="one a line; * matches anything, [3-5] a digit"
          error={
            wrong
              ? `${wrong.path} cannot be a site. ${wrong.refused}`
              : idle !== undefined && `“${idle}” matches nothing of this model.`
          }
        >
          {(id, described) => (
            <textarea
              id={id}
              {...described}
              className="input mono"
              rows={Math.min(6, Math.max(2, patterns.length))}
              spellCheck={false}
              value={text}
              onChange={(event) => {
                setText(event.target.value)
                onPatterns(lines(event.target.value))
              }}
            />
          )}
        </Field>
        {refused.length > 0 && (
          <details className="small">
            <summary>{plural(refused.length, 'module')} that cannot be a site</summary>
            <ul className="refused">
              {families(refused).map((family) => (
                <li key={family.name}>
                  <span className="mono">{family.name}</span> {family.modules[0]?.refused}
                </li>
              ))}
            </ul>
          </details>
        )}
      </div>
    </Panel>
  )
}

function FamilyRow({
  family,
  chosen,
  onSet,
}: {
  family: Family
  chosen: Set<string>
  onSet: (modules: ModuleView[], on: boolean) => void
}) {
  const [open, setOpen] = useState(false)
  const many = family.modules.length > 1
  const on = family.modules.filter((module) => chosen.has(module.path)).length
  const [first] = family.modules
  return (
    <div className="family">
      <label className="family-name">
        <input
          type="checkbox"
          checked={on === family.modules.length}
          ref={(box) => {
            if (box) box.indeterminate = on > 0 && on < family.modules.length
          }}
          onChange={(event) => onSet(family.modules, event.target.checked)}
        />
        <span className="mono">{family.name}</span>
      </label>
      <span className="small soft num">
        {count(first?.d_out ?? 0)} × {count(first?.d_in ?? 0)}
      </span>
      {many ? (
        <button type="button" className="link-btn small" aria-expanded={open} onClick={() => setOpen(!open)}>
          {on} of {family.modules.length} layers
        </button>
      ) : (
        <span />
      )}
      {open && (
        <div className="family-layers">
          {family.modules.map((module) => (
            <label key={module.path}>
              <input
                type="checkbox"
                aria-label={module.path}
                checked={chosen.has(module.path)}
                onChange={(event) => onSet([module], event.target.checked)}
              />
              {/\.(\d+)\./.exec(module.path)?.[1] ?? module.path}
            </label>
          ))}
        </div>
      )}
    </div>
  )
}

const lines = (text: string) =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
