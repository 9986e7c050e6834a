/** The provenance of the numbers on screen, always visible. */
import type { Provenance } from '@/api/types'
import { nats } from '@/api/words'
import { Popover } from '@/ui/surfaces'
import './provenance.css'

export function ProvenanceStrip(props: {
  provenance: Provenance
  threshold: number
  /** KL with nothing suppressed, where it has been measured. */
  selfCheck: number | null
  source: 'live' | 'stored' | 'recorded' | null
  elapsedMs?: number | null
  cut?: string | null
}) {
  const { provenance, selfCheck } = props
  return (
    <section className="strip-foot" aria-label="Provenance">
      <span>{provenance.model}</span>
      <Popover
        label="Full provenance"
        trigger={
          <button type="button" className="link-btn">
            weights {provenance.weights_hash.slice(0, 8)}
          </button>
        }
      >
        <ProvenanceList provenance={provenance} />
      </Popover>
      <span>
        {provenance.dtype}, {provenance.device}
      </span>
      <span>CI from {props.threshold}</span>
      {selfCheck !== null && (
        <span className={selfCheck < 1e-6 ? 'ok' : 'not-ok'}>
          nothing suppressed: KL {nats(selfCheck)} nats {selfCheck < 1e-6 ? '✓' : '!'}
        </span>
      )}
      <span>{props.cut ?? 'complete'}</span>
      <span className="grow" />
      {props.source && (
        <span>
          {props.source === 'live'
            ? 'computed live'
            : props.source === 'stored'
              ? 'stored with the run'
              : 'as recorded'}
        </span>
      )}
      {props.elapsedMs !== null && props.elapsedMs !== undefined && (
        <span className="num">{Math.round(props.elapsedMs)} ms</span>
      )}
    </section>
  )
}

export function ProvenanceList({ provenance }: { provenance: Provenance }) {
  const rows: [string, string][] = [
    ['decomposition', provenance.decomposition],
    ['artefact', provenance.artifact_hash],
    ['model', provenance.model],
    ['weights', provenance.weights_hash],
    ['dtype, device', `${provenance.dtype}, ${provenance.device}`],
    ['CI threshold', String(provenance.threshold)],
    ...Object.entries(provenance.versions),
  ]
  return (
    <dl className="facts">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd className="mono">{value}</dd>
        </div>
      ))}
    </dl>
  )
}
