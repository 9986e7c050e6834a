/** The effect of suppressing this component alone, over the windows of the harvest. */
import { Link } from '@tanstack/react-router'
import type { ComponentHarvest } from '@/api/types'
import { nats, visible } from '@/api/words'
import { encodeEntry } from '@/state/basket'
import { Empty, Panel } from '@/ui/surfaces'
import { SOURCE_WORDS } from './words'
import './component.css'

export function EffectPanel({ harvest }: { harvest: ComponentHarvest }) {
  const { effect_mean: mean, effect_max: most, affected } = harvest
  const top = Math.max(0, ...affected.flatMap((one) => one.kl))
  return (
    <Panel
      title="Effect of suppression"
      aside={
        typeof mean === 'number'
          ? `mean KL ${nats(mean)} nats over ${harvest.harvest.ablation_windows} texts, largest ${nats(most ?? 0)} at one position`
          : typeof most === 'number'
            ? `largest KL ${nats(most)} nats at one position`
            : undefined
      }
    >
      {affected.length === 0 ? (
        <Empty title={most === null ? 'It was not suppressed in this harvest' : 'No effect'}>
          <span className="soft">
            {most === null
              ? 'A harvest suppresses only components that fire, the most frequent first. Try it in the workbench.'
              : 'The output does not change on any text of the harvest.'}
          </span>
        </Empty>
      ) : (
        <ul className="examples effects">
          {affected.map((one, i) => {
            const at = one.kl.indexOf(Math.max(...one.kl))
            return (
              <li key={i}>
                <span className="context">
                  {one.tokens.map((token, place) => (
                    <span
                      key={place}
                      className={`context-token ${place === at ? 'at' : ''}`}
                      title={`KL ${nats(one.kl[place] ?? 0)} nats`}
                    >
                      {visible(token.piece)}
                      <i
                        className="kl-size"
                        style={{ width: `${top > 0 ? ((one.kl[place] ?? 0) / top) * 100 : 0}%` }}
                        aria-hidden="true"
                      />
                    </span>
                  ))}
                </span>
                <span className="small soft num">
                  KL {nats(one.kl[at] ?? 0)} after{' '}
                  <b className="mono">{visible(one.tokens[at]?.piece ?? '')}</b>
                </span>
                <span className="badge">{SOURCE_WORDS[one.source]}</span>
              </li>
            )
          })}
        </ul>
      )}
    </Panel>
  )
}

/** Opens the workbench with this component in basket A. */
export function ToWorkbench({ id, componentKey, site }: { id: string; componentKey: string; site: string }) {
  const a = [encodeEntry({ kind: 'component', name: componentKey, strength: 1, positions: null })]
  return (
    <Link to="/d/$id/workbench" params={{ id }} search={{ a, row: site }} className="btn primary">
      Open in the workbench
    </Link>
  )
}
