/** Output shift: all prompts side by side under one condition, because selectivity is the claim. */
import { useInfiniteQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { queries } from '@/api/queries'
import { visible } from '@/api/words'
import { DifferenceLegend } from '@/charts/Bars'
import type { Workbench } from '@/state/useWorkbench'
import type { Condition } from '@/state/workbench'
import { Button, Seg } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Panel, Popover } from '@/ui/surfaces'
import { ShiftColumn } from './ShiftColumn'

const WORDS: Record<Condition, string> = { none: 'none', a: 'A', b: 'B', ab: 'A + B' }

export function ShiftPanel({ bench }: { bench: Workbench }) {
  const { baskets, condition } = bench
  const empty = {
    none: false,
    a: baskets.a.length === 0,
    b: baskets.b.length === 0,
    ab: baskets.a.length === 0 || baskets.b.length === 0,
  }
  const maxKl = Math.max(0, ...bench.prompts.map((prompt) => prompt.shown.data?.max_kl ?? 0))
  return (
    <Panel
      className="shift"
      title="Output shift"
      tools={
        <>
          <DifferenceLegend />
          <Watch bench={bench} />
          <Seg
            label="Condition"
            value={condition}
            options={(['none', 'a', 'b', 'ab'] as const).map((one) => ({
              value: one,
              label: WORDS[one],
              disabled: empty[one] && one !== condition,
            }))}
            onChange={(cond) => bench.set({ cond })}
          />
        </>
      }
    >
      {!bench.ready && bench.prompts.every((prompt) => !prompt.shown.data) && <Waiting id={bench.id} />}
      <div className={`columns n${Math.min(bench.prompts.length, 2)}`}>
        {bench.prompts.map((prompt, i) => (
          <ShiftColumn key={i} bench={bench} prompt={prompt} index={i} maxKl={maxKl} />
        ))}
      </div>
    </Panel>
  )
}

/** Tokens that stay in the tables wherever they rank. */
function Watch({ bench }: { bench: Workbench }) {
  const [text, setText] = useState('')
  const put = (tokens: string[]) => bench.set({ w: tokens.length === 0 ? [''] : tokens })
  const add = () => {
    if (text !== '' && !bench.watch.includes(text)) put([...bench.watch, text])
    setText('')
  }
  return (
    <Popover
      label="Watched tokens"
      trigger={
        <Button size="small">
          <Icon name="eye" /> Watching {bench.watch.length}
        </Button>
      }
    >
      <div className="watch">
        <p className="field-label">Watched tokens</p>
        <p className="small soft">
          They stay in the tables whatever their rank. A leading space is part of a token: most words have
          one.
        </p>
        <ul className="chips">
          {bench.watch.map((token) => (
            <li key={token}>
              <Button
                size="small"
                aria-label={`Stop watching ${visible(token)}`}
                onClick={() => put(bench.watch.filter((other) => other !== token))}
              >
                <span className="mono">{visible(token)}</span> <Icon name="close" />
              </Button>
            </li>
          ))}
        </ul>
        <form
          className="editor-line"
          onSubmit={(event) => {
            event.preventDefault()
            add()
          }}
        >
          <input
            className="input mono"
            aria-label="Token to watch"
            placeholder=" tennis"
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
          <Button type="submit" disabled={text === ''}>
            Watch
          </Button>
        </form>
        {text !== '' && (
          <p className="small soft">
            as typed: <span className="mono">{visible(text)}</span>
          </p>
        )}
        {bench.search.w && (
          <button type="button" className="link-btn small" onClick={() => bench.set({ w: undefined })}>
            Back to the run’s own answers
          </button>
        )}
      </div>
    </Popover>
  )
}

/** While the weights are on their way: what was recorded before can be read already. */
function Waiting({ id }: { id: string }) {
  const findings = useInfiniteQuery(queries.findings({ decomposition: id }))
  const items = findings.data?.pages[0]?.items ?? []
  return (
    <div className="pad waiting">
      <p>Probabilities before and after come as soon as the weights are ready.</p>
      {items.length > 0 && (
        <>
          <p className="soft">Recorded already, with all their numbers:</p>
          <ul>
            {items.slice(0, 6).map((finding) => (
              <li key={finding.slug}>
                <Link to="/f/$slug" params={{ slug: finding.slug }}>
                  {finding.title}
                </Link>{' '}
                <span className="soft small">{finding.summary[0]}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </div>
  )
}
