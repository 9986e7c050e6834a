/** Examples of a component's firings, by quantile. */
import type { ComponentHarvest } from '@/api/types'
import { count } from '@/api/words'
import { ContextLegend, TokenContext } from '@/charts/TokenContext'
import type { Quantile } from '@/state/lists'
import { Seg } from '@/ui/controls'
import { Empty, Panel } from '@/ui/surfaces'
import { SOURCE_WORDS } from './words'
import './component.css'

const BAND_WORDS: Record<Quantile, string> = {
  top: 'with the strongest firings, one per text',
  '90-100': 'from the highest tenth of its firings',
  '50-90': 'from the 50th to the 90th percentile',
  '10-50': 'from the 10th to the 50th percentile',
}

export function ExamplesPanel(props: {
  harvest: ComponentHarvest
  show: Quantile
  onShow: (show: Quantile) => void
}) {
  const { harvest, show } = props
  const band = harvest.bands.find((one) => one.quantile === show)
  const examples = band?.examples ?? []
  const most = Math.max(
    0,
    ...harvest.bands.flatMap((one) => one.examples.flatMap((e) => e.inner_activation.map(Math.abs))),
  )
  return (
    <Panel
      title="Examples"
      aside={`${count(harvest.fires)} of ${count(harvest.harvest.positions)} positions`}
      tools={
        <Seg
          label="Quantile of firings"
          value={show}
          options={harvest.bands.map((one) => ({
            value: one.quantile,
            label: one.quantile === 'top' ? 'top' : `${one.quantile.replace('-', '–')} %`,
            disabled: one.examples.length === 0,
          }))}
          onChange={props.onShow}
        />
      }
    >
      <p className="pad small soft legend-line">
        <span>
          Examples {BAND_WORDS[show]}, ranked by CI and then by the size of the inner activation. The outlined
          token is the one that was sampled.
        </span>
        <ContextLegend most={most} />
      </p>
      {examples.length === 0 && (
        <Empty title={harvest.fires === 0 ? 'It never fires in this corpus' : 'None in this band'}>
          <span className="soft">
            {harvest.fires === 0
              ? 'Its CI stays below the threshold at every position of the corpus.'
              : 'It fires so rarely that all its firings are among the strongest.'}
          </span>
        </Empty>
      )}
      <ul className="examples contexts">
        {examples.map((example) => (
          <li key={`${example.window}:${example.start + example.at}`}>
            <TokenContext
              tokens={example.tokens}
              ci={example.ci}
              activation={example.inner_activation}
              most={most}
              at={example.at}
            />
            <span className="badge">{SOURCE_WORDS[example.source]}</span>
          </li>
        ))}
      </ul>
    </Panel>
  )
}
