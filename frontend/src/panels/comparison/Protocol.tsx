import type { Evaluation } from '@/api/types'
import { count, day, duration, plural } from '@/api/words'
import { Panel } from '@/ui/surfaces'
import './comparison.css'

/** What was asked and how, so that it can be repeated. */
export function Protocol({ evaluation }: { evaluation: Evaluation }) {
  const { config, methods, notes = [] } = evaluation
  const positions = evaluation.rows.reduce((sum, row) => Math.max(sum, row.text?.positions ?? 0), 0)
  return (
    <Panel
      title="How it was measured"
      aside={`${day(evaluation.created_at)}, in ${duration(evaluation.seconds)}`}
    >
      <div className="pad">
        <p>
          For each of {plural(evaluation.facts.length, 'fact')} every method chooses at most {config.main}{' '}
          terms on templates that were trained on; the edit acts at every position. Asked after it: the
          held-out templates, up to {config.others} other facts,{' '}
          {evaluation.kinds.includes('reverse') && 'the reverse question, '}the same words in other sentences
          {evaluation.kinds.includes('text') &&
            `, and a share of ${count(config.windows)} windows of held-out text (${count(positions)} positions a fact)`}
          . Seed {config.seed}.
        </p>
        {notes.map((note) => (
          <p key={note}>{note}</p>
        ))}
        <dl className="method-list">
          {methods.map((method) => (
            <div key={method.name}>
              <dt>{method.title}</dt>
              <dd>{method.about}</dd>
            </div>
          ))}
        </dl>
      </div>
    </Panel>
  )
}
