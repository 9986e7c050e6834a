import { type FormEvent, useEffect, useState } from 'react'
import type { Circuit } from '@/api/types'
import { visible } from '@/api/words'
import type { CircuitSearch } from '@/state/circuit'
import { Button, Field, Slider } from '@/ui/controls'
import './circuit.css'

/** The output to explain, and the CI from which a component is a node. */
export function CircuitControls(props: {
  circuit: Circuit | undefined
  tokens: number
  threshold: number
  search: CircuitSearch
  onSearch: (change: Partial<CircuitSearch>) => void
}) {
  const { circuit, search, onSearch } = props
  const [token, setToken] = useState(search.tok ?? '')
  const [against, setAgainst] = useState(search.vs ?? '')
  const [threshold, setThreshold] = useState(props.threshold)
  useEffect(() => setToken(search.tok ?? ''), [search.tok])
  useEffect(() => setAgainst(search.vs ?? ''), [search.vs])
  useEffect(() => setThreshold(props.threshold), [props.threshold])
  const submit = (event: FormEvent) => {
    event.preventDefault()
    onSearch({ tok: token === '' ? undefined : token, vs: against === '' ? undefined : against })
  }
  return (
    <form className="circuit-controls" onSubmit={submit}>
      <Field label="Token explained" hint="with its leading space; empty: the most likely one">
        {(id) => (
          <input
            id={id}
            className="input mono"
            value={token}
            maxLength={200}
            placeholder={circuit ? visible(circuit.output.token.piece) : undefined}
            onChange={(event) => setToken(event.target.value)}
          />
        )}
      </Field>
      <Field label="Compared with" hint="empty: the logit alone">
        {(id) => (
          <input
            id={id}
            className="input mono"
            value={against}
            maxLength={200}
            placeholder="nothing"
            onChange={(event) => setAgainst(event.target.value)}
          />
        )}
      </Field>
      <Field label="At">
        {(id) => (
          <select
            id={id}
            className="input mono"
            value={search.at ?? -1}
            onChange={(event) => {
              const at = Number(event.target.value)
              onSearch({ at: at === -1 ? undefined : at })
            }}
          >
            <option value={-1}>the last token</option>
            {circuit?.tokens.slice(0, -1).map((one, position) => (
              <option key={position} value={position}>
                {position} {visible(one.piece)}
              </option>
            ))}
            {search.at !== undefined && (!circuit || search.at >= circuit.tokens.length - 1) && (
              <option value={search.at}>position {search.at}</option>
            )}
          </select>
        )}
      </Field>
      <div className="field">
        <span className="circuit-threshold">
          CI from <span className="num">{threshold.toFixed(2)}</span>
        </span>
        <Slider
          label="Causal importance from which a component is a node"
          value={threshold}
          step={0.01}
          onChange={setThreshold}
          onCommit={(t) => onSearch({ t })}
        />
      </div>
      <Button type="submit">Explain</Button>
    </form>
  )
}
