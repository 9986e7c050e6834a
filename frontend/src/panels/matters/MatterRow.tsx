import { Link } from '@tanstack/react-router'
import { plural, probability, shortKey, signed, unit, visible } from '@/api/words'
import { EffectStrip } from '@/charts/EffectStrip'
import { Strip } from '@/charts/Strip'
import type { Matter } from '@/state/matters'
import type { Ranking } from '@/state/workbench'
import { BasketButtons } from '@/ui/BasketButtons'
import './matters.css'

/** One component or group: its effect on the token, its CI, both by token, and the baskets. */
export function MatterRow(props: {
  id: string
  at: number
  item: Matter
  label: string
  current: boolean
  ranking: Ranking
  /** The largest effect of the list at one token. */
  top: number
  tokens: string[]
  column: number | null
  own: (which: 'a' | 'b') => boolean
  within: (which: 'a' | 'b') => boolean
  onToggle: (which: 'a' | 'b') => void
}) {
  const { item, tokens, column } = props
  const name = item.kind === 'group' ? `group ${item.name}` : shortKey(item.name)
  return (
    <li
      data-at={props.at}
      className={`matter ${item.kind} ${props.current ? 'current' : ''}`}
      aria-current={props.current || undefined}
    >
      <span className="matter-name">
        {item.group ? (
          <>
            <b>{visible(item.group.token)}</b>
            <small title={item.group.why}>{plural(item.group.components.length, 'component')}</small>
          </>
        ) : (
          <>
            <Link to="/d/$id/c/$key" params={{ id: props.id, key: item.name }}>
              {shortKey(item.name)}
            </Link>
            <small>{props.label}</small>
          </>
        )}
      </span>
      <Effect item={item} />
      <span className="num">
        {item.ci > 0 ? unit(item.ci) : '0'}
        {item.activation !== null && <small className="act">{signed(item.activation, 1)}</small>}
      </span>
      {props.ranking === 'effect' ? (
        <EffectStrip
          values={item.effects}
          top={props.top}
          tokens={tokens}
          mark={column}
          label={`Effect of ${name}`}
        />
      ) : (
        <Strip values={item.trace} tokens={tokens} mark={column} label={`CI of ${item.name}`} />
      )}
      <BasketButtons what={name} own={props.own} within={props.within} onToggle={props.onToggle} />
    </li>
  )
}

/** Measured where an ablation was run; to first order, marked ≈, where not. */
function Effect({ item }: { item: Matter }) {
  if (item.exact)
    return (
      <span className="num effect exact">
        <b className={item.exact.effect < 0 ? 'down' : 'up'}>{signed(item.exact.effect, 2)}</b>
        <small>p {probability(item.exact.probability)}</small>
      </span>
    )
  if (item.effect === null) return <span className="num faint">–</span>
  return <span className="num effect faint">≈ {signed(item.effect, 2)}</span>
}
