import type { Ablation } from '@/api/types'
import { shiftRows } from './shift'

/** Output shifts as rows for a file: every prompt, every reported position, every token reported there. */
export function shiftTable(results: { prompt: string; ablation: Ablation }[]) {
  const sides = ['baseline', 'ablated'] as const
  return {
    columns: [
      { key: 'prompt' },
      { key: 'position' },
      { key: 'at' },
      { key: 'kl', unit: 'nats' },
      { key: 'token_id' },
      { key: 'token' },
      ...sides.flatMap((side) => [
        { key: `${side}_probability`, unit: 'probability' },
        { key: `${side}_logit`, unit: 'logit' },
        { key: `${side}_rank` },
      ]),
      { key: 'probability_change', unit: 'probability' },
      { key: 'logit_change', unit: 'logit' },
      { key: 'centred_logit_change', unit: 'logit' },
    ],
    rows: results.flatMap(({ prompt, ablation }) =>
      ablation.positions.flatMap((shift) =>
        shiftRows(shift).map(({ token_id, token, baseline, ablated, centred }) => ({
          prompt,
          position: shift.position,
          at: ablation.tokens[shift.position]?.piece,
          kl: shift.kl,
          token_id,
          token,
          baseline_probability: baseline.probability,
          baseline_logit: baseline.logit,
          baseline_rank: baseline.rank,
          ablated_probability: ablated.probability,
          ablated_logit: ablated.logit,
          ablated_rank: ablated.rank,
          probability_change: ablated.probability - baseline.probability,
          logit_change: ablated.logit - baseline.logit,
          centred_logit_change: centred,
        })),
      ),
    ),
  }
}
