import type { Ablation, PositionShift, RegimeOutcome, Regimes } from '@/api/types'
import { nats, plural, probability } from '@/api/words'
import { BandBars } from '@/charts/BandBars'
import { shiftAt, shiftRows } from '@/state/shift'
import { trustFacts } from '@/state/trust'
import type { PromptView } from '@/state/useWorkbench'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Piece } from '@/ui/Piece'
import { TableScroll } from '@/ui/TableScroll'
import './masks.css'

const WORDS: Record<RegimeOutcome['kind'], { name: string; note: string }> = {
  ci: { name: 'CI as masks', note: 'the causal importances themselves' },
  rounded: { name: 'rounded', note: 'only the components in use' },
  stochastic: { name: 'stochastic', note: 'the others at random: mean, 5–95 %' },
  adversarial: { name: 'adversarial', note: 'the others at their worst' },
}
interface Line {
  name: string
  note: string
  mean: number
  here: number
  low: number | null
  high: number | null
  max: number
  kl: number[]
  lows: number[] | null
  highs: number[] | null
  place: PositionShift | null
}

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)

function linesOf(regimes: Regimes, plain: Ablation, position: number): Line[] {
  const applied = plain.components > 0
  const first: Line = {
    name: applied ? (plain.mode === 'suppress' ? 'plain suppression' : 'plain keep-only') : 'original',
    note: applied ? `${plural(plain.components, 'component')}, as applied above` : 'nothing is applied',
    mean: mean(plain.kl),
    here: plain.kl[position] ?? 0,
    low: null,
    high: null,
    max: plain.max_kl,
    kl: plain.kl,
    lows: null,
    highs: null,
    place: shiftAt(plain, position),
  }
  return [
    first,
    ...regimes.regimes.map((one): Line => {
      const band = one.kind === 'stochastic'
      return {
        ...WORDS[one.kind],
        mean: mean(one.kl),
        here: one.kl[position] ?? 0,
        low: band ? (one.low[position] ?? null) : null,
        high: band ? (one.high[position] ?? null) : null,
        max: Math.max(...one.kl),
        kl: one.kl,
        lows: band ? one.low : null,
        highs: band ? one.high : null,
        place: one.positions[0] ?? null,
      }
    }),
  ]
}

/** Every kind of mask beside the current suppression: the KL, and the probabilities of the most likely tokens. */
export function Outcomes(props: { of: string; prompt: PromptView; regimes: Regimes; plain: Ablation }) {
  const { of, prompt, regimes, plain } = props
  const { position } = prompt
  const lines = linesOf(regimes, plain, position)
  const top = Math.max(1e-3, ...lines.flatMap((line) => line.highs ?? line.kl))
  const tokens = tokensOf(lines)
  const worst = lines.find((line) => line.name === 'adversarial')
  const rounded = lines.find((line) => line.name === 'rounded')
  const file = { of, facts: { ...provenanceFacts(regimes.provenance), ...trustFacts([prompt]) } }
  return (
    <>
      {worst && rounded && (
        <p className="sentence">
          Only the components in use: KL <b>{nats(rounded.here)}</b> nats at this position. With the others
          set adversarially:{' '}
          <b className={worst.here > 10 * Math.max(rounded.here, 0.05) ? 'up' : ''}>{nats(worst.here)}</b>.
        </p>
      )}
      <TableScroll label="Masks">
        <table className="numbers sweep-table masks-table" aria-label="KL by kind of mask">
          <thead>
            <tr>
              <th scope="col" className="left">
                Masks
              </th>
              <th scope="col">KL here</th>
              <th scope="col">mean KL</th>
              <th scope="col">largest</th>
              <th scope="col" className="left">
                KL by position, nats{' '}
                <ExportMenu
                  {...file}
                  name="masks"
                  title="KL by kind of mask"
                  table={() => klTable(lines, plain)}
                />
              </th>
            </tr>
          </thead>
          <tbody>
            {lines.map((line) => (
              <tr key={line.name}>
                <th scope="row" className="left">
                  {line.name}
                  <small className="block">{line.note}</small>
                </th>
                <td className="strong">
                  {nats(line.here)}
                  {line.low !== null && line.high !== null && (
                    <small className="block">
                      {nats(line.low)} – {nats(line.high)}
                    </small>
                  )}
                </td>
                <td>{nats(line.mean)}</td>
                <td>{nats(line.max)}</td>
                <td className="left">
                  <BandBars
                    label={`KL by position, ${line.name}`}
                    values={line.kl}
                    low={line.lows}
                    high={line.highs}
                    max={top}
                    mark={position}
                  />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
      <TableScroll label="Most likely tokens by kind of mask">
        <table className="numbers sweep-table masks-table" aria-label="Probability of tokens by kind of mask">
          <thead>
            <tr>
              <th scope="col" className="left">
                Token
              </th>
              <th scope="col">model</th>
              {lines.map((line) => (
                <th scope="col" key={line.name}>
                  {line.name}
                </th>
              ))}
              <th scope="col">
                <ExportMenu
                  {...file}
                  name="masks-tokens"
                  title="Probability of tokens by kind of mask"
                  table={() => tokenTable(lines, tokens)}
                />
              </th>
            </tr>
          </thead>
          <tbody>
            {tokens.map((token) => (
              <tr key={token.id}>
                <th scope="row" className="left">
                  <Piece text={token.piece} />
                </th>
                <td>{probability(token.before)}</td>
                {lines.map((line) => (
                  <td key={line.name}>{probabilityText(line, token.id)}</td>
                ))}
                <td />
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
    </>
  )
}

const probabilityOf = (line: Line, id: number) =>
  line.place && shiftRows(line.place).find((row) => row.token_id === id)?.ablated.probability

function probabilityText(line: Line, id: number): string {
  const value = probabilityOf(line, id)
  return value === undefined || value === null ? '–' : probability(value)
}

/** The most likely tokens before and under every kind of mask, by probability before. */
function tokensOf(lines: Line[]) {
  const known = new Map<number, { id: number; piece: string; before: number }>()
  for (const line of lines) {
    const rows = line.place ? shiftRows(line.place) : []
    const after = [...rows].sort((a, b) => b.ablated.probability - a.ablated.probability)
    for (const row of [...rows.slice(0, 4), ...after.slice(0, 3)])
      known.set(row.token_id, { id: row.token_id, piece: row.token, before: row.baseline.probability })
  }
  return [...known.values()].sort((a, b) => b.before - a.before).slice(0, 14)
}

function klTable(lines: Line[], plain: Ablation) {
  return {
    columns: [
      { key: 'masks' },
      { key: 'position' },
      { key: 'token' },
      { key: 'kl', unit: 'nats' },
      { key: 'kl_5_percent', unit: 'nats' },
      { key: 'kl_95_percent', unit: 'nats' },
    ],
    rows: lines.flatMap((line) =>
      plain.tokens.map((token, i) => ({
        masks: line.name,
        position: i,
        token: token.piece,
        kl: line.kl[i],
        kl_5_percent: line.lows?.[i] ?? null,
        kl_95_percent: line.highs?.[i] ?? null,
      })),
    ),
  }
}

function tokenTable(lines: Line[], tokens: { id: number; piece: string; before: number }[]) {
  return {
    columns: [
      { key: 'token_id' },
      { key: 'token' },
      { key: 'model', unit: 'probability' },
      ...lines.map((line) => ({ key: line.name, unit: 'probability' })),
    ],
    rows: tokens.map((token) => ({
      token_id: token.id,
      token: token.piece,
      model: token.before,
      ...Object.fromEntries(lines.map((line) => [line.name, probabilityOf(line, token.id) ?? null])),
    })),
  }
}
