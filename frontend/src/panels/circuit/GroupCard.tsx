import { useEffect, useState } from 'react'
import type { Circuit } from '@/api/types'
import { signed } from '@/api/words'
import type { Node } from '@/charts/circuit'
import { COLOURS, NAME_LENGTH, type Supernode } from '@/state/circuit'
import { Button } from '@/ui/controls'
import { NodeButton } from './EdgeTable'
import { Note } from './Note'
import './circuit.css'

const COLOUR_NAMES = ['violet', 'green', 'orange', 'blue', 'ochre', 'pink']

/** A supernode: its name, colour, note and members. */
export function GroupCard(props: {
  node: Node
  circuit: Circuit
  note: string
  name: (key: string) => string
  onNote: (text: string) => void
  onChange: (next: Partial<Supernode>) => void
  onUngroup: () => void
}) {
  const { node, circuit, onChange } = props
  const group = node.group
  const [name, setName] = useState(group?.name ?? '')
  useEffect(() => setName(group?.name ?? ''), [group?.name])
  if (!group) return null
  const rename = () => name.trim() !== '' && name !== group.name && onChange({ name })
  return (
    <article className="circuit-card open" aria-label={`Group ${group.name}`}>
      <div className="circuit-card-body">
        <div className="circuit-group-head">
          <input
            className="input"
            value={name}
            maxLength={NAME_LENGTH}
            aria-label={`Name of the group ${group.name}`}
            onChange={(event) => setName(event.target.value)}
            onBlur={rename}
            onKeyDown={(event) => event.key === 'Enter' && rename()}
          />
          <fieldset className="circuit-colours">
            <legend className="hidden-visually">Colour of the group {group.name}</legend>
            {COLOUR_NAMES.slice(0, COLOURS).map((colour, i) => (
              <label key={colour} className="circuit-swatch group-colour" data-colour={i} title={colour}>
                <input
                  type="radio"
                  name={`colour-${node.id}`}
                  checked={group.colour === i}
                  onChange={() => onChange({ colour: i })}
                />
                <span className="hidden-visually">{colour}</span>
              </label>
            ))}
          </fieldset>
          <Button kind="quiet" size="small" onClick={props.onUngroup}>
            Ungroup
          </Button>
        </div>
        <Note of={group.name} text={props.note} onText={props.onNote} />
        <ol className="circuit-ranked" aria-label={`Members of ${group.name}`}>
          {group.members.map((member) => (
            <li key={member.id}>
              <NodeButton
                node={member}
                tokens={circuit.tokens}
                output=""
                name={props.name(member.key)}
                pinned={false}
              />
              <span className="soft small">{props.name(member.key)}</span>
              <span className={`num ${member.effect > 0 ? 'rise' : 'fall'}`}>{signed(member.effect, 2)}</span>
            </li>
          ))}
        </ol>
        <p className="small soft">
          Together {signed(node.effect, 2)} logits, to first order; members that feed one another are counted
          more than once.
        </p>
      </div>
    </article>
  )
}
