import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { queries } from '@/api/queries'
import type { Finding } from '@/api/types'
import { plural, probability, visible } from '@/api/words'
import { joined, resolvePosition } from '@/state/prompts'
import { describeShift, shiftAt, shiftRows } from '@/state/shift'
import { Button } from '@/ui/controls'
import { ErrorNotice, Skeleton } from '@/ui/surfaces'
import { Explain } from './Explain'
import './gallery.css'

const PROMPTS = 2
const TOKENS = 4

/** A recorded finding to press: two prompts, the same components off in both, from stored numbers. */
export function Story({ slug }: { slug: string }) {
  const finding = useQuery(queries.finding(slug))
  const [off, setOff] = useState(false)
  if (finding.error) return <ErrorNotice error={finding.error} onRetry={() => finding.refetch()} />
  if (!finding.data) return <Skeleton height={320} label="Loading the story" />
  const { results, groups, decomposition } = finding.data
  const shown = results.slice(0, PROMPTS)
  const group = groups.map(visible).join(' and ')
  const count = plural(shown[0]?.result.components ?? 0, 'subcomponent')
  return (
    <section className="panel story" aria-label="Try it">
      <div className="story-main">
        <h2>Take one fact out of a language model</h2>
        <p className="soft">
          Two prompts, and what {shown[0]?.result.provenance.model} says next. {count} of its weights answer
          to <b className="mono">{group}</b>. Switch them off, and look at both.
        </p>
        <div className="story-prompts">
          {shown.map((result, i) => (
            <Outcome key={i} result={result} focus={finding.data.focus[i] ?? -1} off={off} />
          ))}
        </div>
        <div className="row">
          <Button kind="primary" aria-pressed={off} onClick={() => setOff(!off)}>
            {off ? 'Put' : 'Suppress'} <span className="mono">{group}</span>
            {off && ' back'}
          </Button>
          <Link
            to="/d/$id/workbench"
            params={{ id: decomposition }}
            search={{ a: groups.map((name) => `~${name}`) }}
            className="btn"
          >
            Try your own prompt
          </Link>
          <Link to="/f/$slug" params={{ slug }} className="btn quiet">
            The whole finding
          </Link>
        </div>
        <p className="small soft" role="status">
          {off ? `${count} subtracted from the weights, everything else as it was.` : 'The original model.'}
        </p>
      </div>
      <Explain />
    </section>
  )
}

/** A prompt, its likeliest next tokens as bars, and what became of the first. */
function Outcome({
  result,
  focus,
  off,
}: {
  result: Finding['results'][number]
  focus: number
  off: boolean
}) {
  const { tokens } = result.result
  const shift = shiftAt(result.result, resolvePosition(focus, tokens.length))
  const described = shift && describeShift(shift, null, true)
  if (!shift || !described) return null
  const all = shiftRows(shift)
  const first = all.filter((row) => row.ablated.rank === 1)
  const rows = [...new Set([...all.slice(0, TOKENS), ...first])]
  const top = Math.max(...rows.flatMap((row) => [row.baseline.probability, row.ablated.probability]))
  return (
    <div className="story-prompt">
      <h3>{joined(tokens.map((token) => token.piece))} …</h3>
      <ul>
        {rows.map((row) => {
          const now = off ? row.ablated.probability : row.baseline.probability
          const tone = !off ? '' : described.verb === 'falls' && row.token === described.token ? 'fell' : ''
          return (
            <li key={row.token_id}>
              <span className="mono">{visible(row.token)}</span>
              <span className="story-bar" aria-hidden="true">
                <i className={tone} style={{ width: `${(now / top) * 100}%` }} />
              </span>
              <span className="num">{probability(now)}</span>
            </li>
          )
        })}
      </ul>
      <p className="small story-sentence">
        {off && (
          <>
            <b className="mono">{visible(described.token)}</b>{' '}
            {described.verb === 'stays'
              ? `stays: ${probability(described.before)} to ${probability(described.after)}`
              : `${described.verb} from ${probability(described.before)} to ${probability(described.after)}`}
          </>
        )}
      </p>
    </div>
  )
}
