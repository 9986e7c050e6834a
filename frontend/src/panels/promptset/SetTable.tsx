import { Link } from '@tanstack/react-router'
import { nats, probability, signed, visible } from '@/api/words'
import { PairBars } from '@/charts/Bars'
import {
  encodeSetPrompt,
  type PromptSetSearch,
  type SetPrompt,
  type SetRow,
  type SetSort,
} from '@/state/promptSet'
import { encodePrompt } from '@/state/prompts'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Piece } from '@/ui/Piece'
import { SortHead } from '@/ui/SortHead'
import { TableScroll } from '@/ui/TableScroll'
import './promptset.css'

const HEADS: { sort: SetSort; head: string }[] = [
  { sort: 'before', head: 'Before' },
  { sort: 'after', head: 'After' },
  { sort: 'dlogp', head: 'Δ log p, nats' },
  { sort: 'kl', head: 'KL, nats' },
]
const VALUE: Record<Exclude<SetSort, 'prompt'>, (row: SetRow) => number> = {
  before: (row) => row.before,
  after: (row) => row.after,
  dlogp: (row) => row.change,
  kl: (row) => row.kl,
}

/** A row a prompt; each opens on the workbench with the same basket. */
export function SetTable(props: {
  id: string
  prompts: SetPrompt[]
  rows: (SetRow | null)[]
  search: PromptSetSearch
  onSearch: (change: Partial<PromptSetSearch>) => void
}) {
  const { prompts, rows, search, onSearch } = props
  const sort = search.sort ?? 'prompt'
  const dir = search.dir ?? (sort === 'dlogp' || sort === 'prompt' ? 'asc' : 'desc')
  const order = prompts.map((_, index) => index)
  if (sort !== 'prompt') {
    const value = (index: number) => {
      const row = rows[index]
      return row ? VALUE[sort](row) : Number.POSITIVE_INFINITY
    }
    order.sort((a, b) => (dir === 'asc' ? value(a) - value(b) : value(b) - value(a)))
  }
  const choose = (next: SetSort) =>
    onSearch({ sort: next, dir: next === sort ? (dir === 'asc' ? 'desc' : 'asc') : undefined })
  const most = Math.max(0.01, ...rows.map((row) => Math.max(row?.before ?? 0, row?.after ?? 0)))
  return (
    <TableScroll label="Prompts of the set">
      <table className="data" aria-label="Prompts of the set">
        <thead>
          <tr>
            <th scope="col">Prompt</th>
            <th scope="col" colSpan={2}>
              Token
            </th>
            {HEADS.map((head) => (
              <SortHead
                key={head.sort}
                sorted={head.sort === sort ? dir : undefined}
                onSort={() => choose(head.sort)}
                className="right"
              >
                {head.head}
              </SortHead>
            ))}
            <th scope="col">
              <span className="hidden-visually">Remove</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {order.map((index) => {
            const prompt = prompts[index]
            const row = rows[index]
            if (!prompt) return null
            const text = prompt.spec.text ?? `tokens ${prompt.spec.ids.join(' ')}`
            return (
              <tr key={`${index}-${encodeSetPrompt(prompt)}`}>
                <th scope="row" className="set-prompt">
                  <Link
                    to="/d/$id/workbench"
                    params={{ id: props.id }}
                    search={{ p: [encodePrompt(prompt.spec)], a: search.a, cond: 'a' }}
                  >
                    {text}
                  </Link>
                </th>
                <td>
                  <Piece text={row?.token ?? prompt.answer ?? ''} />
                </td>
                <td className="bars">
                  {row && <PairBars before={row.before} after={row.after} max={most} />}
                </td>
                <td className="right num">{row ? probability(row.before) : '–'}</td>
                <td className="right num">{row ? probability(row.after) : '–'}</td>
                <td className={`right num ${!row ? '' : row.change < 0 ? 'set-falls' : 'set-rises'}`}>
                  {row ? signed(row.change, 2) : '–'}
                </td>
                <td className="right num">{row ? nats(row.kl) : '–'}</td>
                <td>
                  <Button
                    kind="quiet"
                    size="small"
                    icon
                    aria-label={`Remove “${visible(text.slice(0, 60))}”`}
                    onClick={() => {
                      const left = prompts.filter((_, at) => at !== index).map(encodeSetPrompt)
                      onSearch({ q: left.length > 0 ? left : undefined })
                    }}
                  >
                    <Icon name="close" />
                  </Button>
                </td>
              </tr>
            )
          })}
        </tbody>
      </table>
    </TableScroll>
  )
}
