/** The component on any text, recomputed while typing. */
import { useQuery } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import { queries } from '@/api/queries'
import { ContextLegend, TokenContext } from '@/charts/TokenContext'
import { useDebounced, useSlow } from '@/state/hooks'
import { MAX_TRIED } from '@/state/lists'
import { ErrorNotice, Panel, Recomputing } from '@/ui/surfaces'
import './component.css'

export function TryPanel(props: {
  id: string
  componentKey: string
  bos: boolean
  text: string
  onText: (text: string) => void
}) {
  const [text, setText] = useState(props.text)
  useEffect(() => setText(props.text), [props.text])
  const settled = useDebounced(text, 150)
  const { onText } = props
  // biome-ignore lint/correctness/useExhaustiveDependencies: only a pause in typing changes the address
  useEffect(() => {
    if (settled === text && settled !== props.text) onText(settled)
  }, [settled])
  const query = useQuery(queries.tryComponent(props.id, props.componentKey, settled, props.bos))
  const slow = useSlow(query.isFetching || settled !== text, 250)
  const shown = settled === '' ? undefined : query.data
  const most = Math.max(0, ...(shown?.inner_activation ?? []).map(Math.abs))
  const highest = Math.max(0, ...(shown?.ci ?? []))
  return (
    <Panel
      title="Try any text"
      aside="its CI and inner activation at every token"
      tools={<Recomputing on={slow} />}
    >
      <div className="pad try">
        <textarea
          className="input"
          rows={2}
          aria-label="Any text"
          placeholder="Type any text…"
          maxLength={MAX_TRIED}
          data-search
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <ErrorNotice error={settled === '' ? null : query.error} onRetry={() => query.refetch()} />
        {shown && (
          <>
            <div className={slow ? 'stale' : ''}>
              <TokenContext
                tokens={shown.tokens}
                ci={shown.ci}
                activation={shown.inner_activation}
                most={most}
                numbers
              />
            </div>
            <p className="small soft legend-line">
              <span role="status">
                {highest === 0
                  ? 'Its CI is 0 at every token.'
                  : `Its CI is ${highest.toFixed(2)} where it is highest.`}
              </span>
              <ContextLegend most={most} />
            </p>
          </>
        )}
      </div>
    </Panel>
  )
}
