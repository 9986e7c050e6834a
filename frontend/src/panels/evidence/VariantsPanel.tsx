import type { Provenance, Variant, VariantTable } from '@/api/types'
import { figure } from '@/api/words'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'

const FIGURES: [string, string][] = [
  ['kl_ci_masks', 'KL, CI as masks'],
  ['kl_stochastic', 'KL, stochastic'],
  ['kl_adversarial_shared_20', 'KL, adversary'],
  ['ce_change_ci_masks', 'ΔCE'],
  ['l0', 'L0'],
  ['alive', 'alive'],
  ['seconds', 'CPU s'],
]
const TITLE = 'What its settings bring'

/** Variants of the run's config, trained on several seeds at the same cost: means, and the seeds' range. */
export function VariantsPanel({ table, from }: { table: VariantTable; from: Provenance }) {
  return (
    <Panel
      title={TITLE}
      tools={
        <ExportMenu
          of={from.decomposition}
          name="variants"
          title={TITLE}
          facts={{ ...provenanceFacts(from), about: table.about }}
          table={() => ({
            columns: ['name', 'about', 'seeds', ...FIGURES.map(([key]) => key)].map((key) => ({ key })),
            rows: table.rows.map((row) => ({
              name: row.name,
              about: row.about,
              seeds: row.seeds.length,
              ...Object.fromEntries(FIGURES.map(([key]) => [key, row.figures[key]?.mean ?? null])),
            })),
          })}
        />
      }
    >
      <TableScroll label={TITLE}>
        <table className="data" aria-label={TITLE}>
          <thead>
            <tr>
              <th scope="col">Variant</th>
              <th scope="col">Seeds</th>
              {FIGURES.map(([key, label]) => (
                <th scope="col" key={key}>
                  {label}
                </th>
              ))}
              <th scope="col">Seeds agree</th>
            </tr>
          </thead>
          <tbody>
            {table.rows.map((row) => (
              <tr key={row.name}>
                <th scope="row">
                  {row.name.replaceAll('_', ' ')}
                  <div className="small soft">{row.about}</div>
                </th>
                <td className="num">{row.seeds.length}</td>
                {FIGURES.map(([key]) => (
                  <td className="num" key={key}>
                    <Range of={row.figures[key]} />
                  </td>
                ))}
                <td className="num">{agreement(row)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
      <p className="pad small soft">
        {table.about} KL in nats; under each mean the smallest and largest of the seeds. Seeds agree: mean
        largest cosine of the seeds’ components (their rank-1 matrices), and in brackets the same before
        training, where the start alone decides it.
      </p>
    </Panel>
  )
}

function Range({ of }: { of: Variant['figures'][string] | undefined }) {
  if (of === undefined) return null
  return (
    <>
      {figure(of.mean)}
      {of.least < of.most && (
        <div className="small soft">
          {figure(of.least)}–{figure(of.most)}
        </div>
      )}
    </>
  )
}

function agreement({ agreement: found, agreement_at_start: start }: Variant): string {
  return found === null || start === null ? '–' : `${found.both.toFixed(2)} (${start.both.toFixed(2)})`
}
