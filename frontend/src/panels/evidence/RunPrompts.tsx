import { Link } from '@tanstack/react-router'
import type { Provenance, RunPrompt } from '@/api/types'
import { probability, SPLIT_WORDS } from '@/api/words'
import { encodePrompt } from '@/state/prompts'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { Piece } from '@/ui/Piece'
import { Panel } from '@/ui/surfaces'
import { TableScroll } from '@/ui/TableScroll'

const SHOWN = 12

export function RunPrompts({ prompts, from }: { prompts: RunPrompt[]; from: Provenance }) {
  if (prompts.length === 0) return null
  const id = from.decomposition
  const table = (list: RunPrompt[]) => (
    <TableScroll label="Prompts of the run">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Prompt</th>
            <th scope="col">Split</th>
            <th scope="col" className="right">
              Tokens
            </th>
            <th scope="col">Answer</th>
            <th scope="col" className="right">
              Model probability
            </th>
          </tr>
        </thead>
        <tbody>
          {list.map((prompt) => (
            <tr key={`${prompt.text}${prompt.bos}`}>
              <th scope="row">
                <Link
                  to="/d/$id/workbench"
                  params={{ id }}
                  search={{ p: [encodePrompt({ text: prompt.text, bos: prompt.bos })] }}
                >
                  {prompt.text}
                </Link>
              </th>
              <td>
                <span className="badge">{SPLIT_WORDS[prompt.split]}</span>
              </td>
              <td className="right num">{prompt.tokens.length}</td>
              <td>{prompt.answer === null ? '–' : <Piece text={prompt.answer} />}</td>
              <td className="right num">
                {typeof prompt.answer_probability === 'number' ? probability(prompt.answer_probability) : '–'}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableScroll>
  )
  return (
    <Panel
      title="Prompts"
      aside={`${prompts.length} in all`}
      tools={
        <ExportMenu
          of={id}
          name="prompts"
          title="Prompts"
          facts={provenanceFacts(from)}
          table={() => ({
            columns: [
              { key: 'text' },
              { key: 'split' },
              { key: 'bos' },
              { key: 'token_ids' },
              { key: 'answer' },
              { key: 'answer_probability', unit: 'probability' },
              { key: 'fact' },
            ],
            rows: prompts.map(({ tokens, ...prompt }) => ({
              ...prompt,
              token_ids: tokens.map((token) => token.id),
            })),
          })}
        />
      }
    >
      {table(prompts.slice(0, SHOWN))}
      {prompts.length > SHOWN && (
        <details className="more">
          <summary>{prompts.length - SHOWN} more</summary>
          {table(prompts.slice(SHOWN))}
        </details>
      )}
    </Panel>
  )
}
