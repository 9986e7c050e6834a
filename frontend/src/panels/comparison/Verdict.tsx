import type { Evaluation, MethodSummary } from '@/api/types'
import { plural } from '@/api/words'
import { Notice } from '@/ui/surfaces'
import { between, isGated, ranking, score, titleOf } from './words'

/** Who wins at the main budget, where SPD loses first. */
export function Verdict({ evaluation }: { evaluation: Evaluation }) {
  const rows = ranking(evaluation, evaluation.config.main)
  const own = rows.find((row) => row.method === evaluation.first)
  if (!own) return null
  const others = rows.filter((row) => row.verdict && !isGated(evaluation, row.method))
  const [lost, level, won] = (['loses', 'level', 'wins'] as const).map((verdict) =>
    others.filter((row) => row.verdict === verdict),
  ) as [MethodSummary[], MethodSummary[], MethodSummary[]]
  const named = (list: MethodSummary[]) =>
    list.map((row) => `${titleOf(evaluation, row.method)} (${score(row.score.mean)})`).join(', ')
  const best = lost[0]
  return (
    <Notice tone={best ? 'warn' : level.length > 0 ? 'info' : 'good'}>
      <p>
        {best ? (
          <>
            <b>SPD loses to {plural(lost.length, 'method')} of the same budget.</b> Its selectivity over{' '}
            {plural(own.facts, 'fact')} is {score(own.score.mean)} ({between(own.score)}); ahead of it,
            outside the interval, {lost.length === 1 ? 'is' : 'are'} {named(lost)}.
          </>
        ) : (
          <>
            <b>No method of the same budget beats SPD outside the interval.</b> Its selectivity over{' '}
            {plural(own.facts, 'fact')} is {score(own.score.mean)} ({between(own.score)}).
          </>
        )}
      </p>
      {level.length > 0 && <p>Not told apart from it: {named(level)}.</p>}
      {won.length > 0 && <p>SPD is ahead of {named(won)}.</p>}
    </Notice>
  )
}
