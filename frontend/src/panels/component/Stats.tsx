import type { ComponentDetail, ComponentHarvest } from '@/api/types'
import { count, figure, nats, probability, visible } from '@/api/words'
import './component.css'

/** The list's columns, then what a harvest says: the same name is the same quantity. */
export function Stats({ c }: { c: ComponentDetail }) {
  const h = c.harvest
  const number = (value: number | null | undefined) => (typeof value === 'number' ? nats(value) : '–')
  const own: Stat[] = [
    ['effect, nats', number(c.effect), 'largest KL at an answer when it alone is suppressed'],
    ['max CI', figure(c.max_ci), 'the largest at any position'],
    ['mean CI', figure(c.mean_ci), 'over all positions'],
    ['density', probability(c.density), 'of positions above the threshold'],
    ['‖V‖·‖U‖', figure(c.write_norm), 'size of the rank-1 matrix'],
  ]
  return (
    <>
      <StatsOf title="On the run’s prompts" stats={own} />
      {h && (
        <StatsOf
          title="Over the corpus"
          stats={[
            ['mean KL, nats', number(h.effect_mean), 'when it alone is suppressed'],
            ['corpus max CI', figure(h.max_ci), 'the largest at any position'],
            ['corpus mean CI', figure(h.mean_ci), 'over all positions'],
            ['corpus density', probability(h.density), `fires at ${count(h.fires)} positions`],
            ['label F1', labelF1(h), labelWords(h)],
          ]}
        />
      )}
    </>
  )
}

type Stat = [name: string, value: string, words: string]

function StatsOf({ title, stats }: { title: string; stats: Stat[] }) {
  return (
    <section aria-label={title}>
      <h2 className="small soft">{title}</h2>
      <dl className="stats">
        {stats.map(([name, value, words]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd className="num">{value}</dd>
            <dd className="small soft">{words}</dd>
          </div>
        ))}
      </dl>
    </section>
  )
}

const labelF1 = (h: ComponentHarvest) => (typeof h.label?.f1 === 'number' ? h.label.f1.toFixed(2) : '–')

/** How the automatic label did where it was not made. */
function labelWords(h: ComponentHarvest): string {
  const { label } = h
  if (!label) return 'this harvest scored no label'
  if (typeof label.f1 !== 'number') return `it fires nowhere on ${count(label.positions)} other positions`
  const tokens = label.tokens.map((token) => visible(token.piece)).join(', ')
  const share = (value: number | null) => (value === null ? '–' : probability(value))
  return `${tokens}: precision ${share(label.precision)}, recall ${share(label.recall)}, balanced accuracy ${share(label.balanced_accuracy)} on ${count(label.positions)} positions`
}
