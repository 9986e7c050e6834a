import type { Decomposition } from '@/api/types'
import { Panel } from '@/ui/surfaces'

/** Provenance and the full config, for repeating the run. */
export function RunDetails({ decomposition: d }: { decomposition: Decomposition }) {
  const facts: [string, string][] = [
    ['artefact', d.artifact_hash],
    ['weights', d.provenance.weights_hash],
    ['dtype, device', `${d.provenance.dtype}, ${d.provenance.device}`],
    ...Object.entries(d.provenance.versions),
    ...Object.entries(d.source).map(([name, value]): [string, string] => [
      `source ${name}`,
      typeof value === 'string' ? value : JSON.stringify(value),
    ]),
  ]
  return (
    <Panel title="Provenance and config">
      <div className="pad">
        <dl className="facts">
          {facts.map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd className="mono">{value}</dd>
            </div>
          ))}
        </dl>
      </div>
      <details className="more">
        <summary>Full config</summary>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard */}
        <pre className="config" tabIndex={0}>
          {JSON.stringify(d.config, null, 2)}
        </pre>
      </details>
    </Panel>
  )
}
