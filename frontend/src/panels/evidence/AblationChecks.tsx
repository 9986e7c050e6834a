import { Link } from '@tanstack/react-router'
import type { AblationCheck, Provenance } from '@/api/types'
import { plural, probability, SPLIT_WORDS, signed, visible } from '@/api/words'
import { encodeEntry } from '@/state/basket'
import { encodePrompt } from '@/state/prompts'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Piece } from '@/ui/Piece'
import { Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'

/** The run's own tests of selectivity; each row opens in the workbench. */
export function AblationChecks({ checks, from }: { checks: AblationCheck[]; from: Provenance }) {
  if (checks.length === 0) return null
  const id = from.decomposition
  const passed = checks.filter((check) => check.ok).length
  const untrained = checks.some((check) => check.untrained_change != null)
  return (
    <Panel
      title="Effect of suppressing groups"
      aside={`${passed} of ${checks.length} as expected`}
      tools={
        <ExportMenu
          of={id}
          name="ablation-checks"
          title="Effect of suppressing groups"
          facts={provenanceFacts(from)}
          table={() => ({
            columns: [
              { key: 'group' },
              { key: 'components' },
              { key: 'prompt' },
              { key: 'answer' },
              { key: 'role' },
              { key: 'split' },
              { key: 'baseline', unit: 'probability' },
              { key: 'ablated', unit: 'probability' },
              { key: 'change', unit: 'of the baseline' },
              ...(untrained ? [{ key: 'untrained_change', unit: 'of the baseline' }] : []),
              { key: 'wanted' },
              { key: 'ok' },
            ],
            rows: checks,
          })}
        />
      }
    >
      <TableScroll label="Effect of suppressing groups">
        <table className="data">
          <thead>
            <tr>
              <th scope="col">Suppressed</th>
              <th scope="col">Prompt</th>
              <th scope="col">Answer</th>
              <th scope="col" className="right">
                Before
              </th>
              <th scope="col" className="right">
                After
              </th>
              <th scope="col" className="right">
                Change
              </th>
              {untrained && (
                <th
                  scope="col"
                  className="right"
                  title="The same components as they were before training, suppressed in the same way"
                >
                  Untrained
                </th>
              )}
              <th scope="col">Expected</th>
              <th scope="col">
                <span className="hidden-visually">Open</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {checks.map((check) => (
              <tr key={`${check.group} ${check.prompt} ${check.role}`}>
                <th scope="row">
                  <span>
                    <span className="mono">{check.group}</span>
                    <small>{plural(check.components, 'component')}</small>
                  </span>
                </th>
                <td>
                  {check.prompt}{' '}
                  <span className="badge">
                    {check.role === 'reverse' ? 'reverse' : SPLIT_WORDS[check.split]}
                  </span>{' '}
                  {check.looked_at && (
                    <span className="badge" title="Looked at while the settings of this run were chosen">
                      looked at
                    </span>
                  )}
                </td>
                <td>
                  <Piece text={check.answer} />
                </td>
                <td className="right num">{probability(check.baseline)}</td>
                <td className="right num">{probability(check.ablated)}</td>
                <td className={`right num ${check.change < -0.1 ? 'down' : check.change > 0.1 ? 'up' : ''}`}>
                  {signed(check.change * 100, 1)} %
                </td>
                {untrained && (
                  <td className="right num">
                    {check.untrained_change == null ? '–' : `${signed(check.untrained_change * 100, 1)} %`}
                  </td>
                )}
                <td className="nowrap">
                  <span className={`badge ${check.ok ? 'good' : 'bad'}`}>{check.ok ? '✓' : '✗'}</span>{' '}
                  <span className="small soft">{check.wanted}</span>
                </td>
                <td>
                  <Link
                    to="/d/$id/workbench"
                    params={{ id }}
                    search={{
                      p: [encodePrompt({ text: check.prompt, bos: false })],
                      a: check.group
                        .split(/\s*\+\s*/)
                        .map((name) => encodeEntry({ kind: 'group', name, strength: 1, positions: null })),
                      cond: 'a',
                      w: [check.answer],
                    }}
                    aria-label={`See ${check.group} suppressed in “${check.prompt}”, ${visible(check.answer)}`}
                  >
                    see
                  </Link>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
    </Panel>
  )
}
