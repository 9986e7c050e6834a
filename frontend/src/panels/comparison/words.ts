/** How an evaluation is read: numbers, rows of a budget, and who is ahead. */
import type { Evaluation, EvaluationRow, MethodSummary } from '@/api/types'
import { signed } from '@/api/words'

type Interval = MethodSummary['score']

export const score = (value: number) => signed(value, 2).replace('+', '')

export const between = ({ low, high }: Interval) => `${score(low)} to ${score(high)}`

export const share = (value: number | null | undefined) =>
  value === null || value === undefined ? '–' : `${(value * 100).toFixed(1).replace('-', '−')} %`

export const titleOf = (evaluation: Evaluation, name: string) =>
  evaluation.methods.find((method) => method.name === name)?.title ?? name

export const isGated = (evaluation: Evaluation, name: string) =>
  evaluation.methods.find((method) => method.name === name)?.gated ?? false

/** The methods at one budget, the best score first; what acts only where the subject stands comes last. */
export function ranking(evaluation: Evaluation, budget: number): MethodSummary[] {
  const last = (row: MethodSummary) => Number(isGated(evaluation, row.method))
  return evaluation.summary
    .filter((row) => row.budget === budget)
    .sort((a, b) => last(a) - last(b) || b.score.mean - a.score.mean)
}

export interface FactComparison {
  name: string
  answer: string
  prompt: string
  relation: string
  probability: number
  own: EvaluationRow
  best: EvaluationRow | undefined
  /** Score of SPD less the best other method's. */
  margin: number
}

/** Each fact at the main budget: SPD beside the best other method that edits weights or activations everywhere. */
export function factComparisons(evaluation: Evaluation): FactComparison[] {
  const rows = evaluation.rows.filter((row) => row.budget === evaluation.config.main)
  return evaluation.facts.flatMap((fact) => {
    const of = rows.filter((row) => row.fact === fact.name)
    const own = of.find((row) => row.method === evaluation.first)
    if (!own) return []
    const best = of
      .filter((row) => row !== own && !isGated(evaluation, row.method))
      .sort((a, b) => b.score - a.score)[0]
    return [{ ...fact, own, best, margin: own.score - (best?.score ?? 0) }]
  })
}
