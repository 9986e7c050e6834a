import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { queries } from '@/api/queries'
import type { ComponentDetail } from '@/api/types'
import { count, figure, nats, SPLIT_WORDS, shortKey } from '@/api/words'
import { Histogram } from '@/charts/Histogram'
import { Legend } from '@/charts/Legend'
import { TokenShade } from '@/charts/TokenShade'
import { DirectionPanel } from '@/panels/component/Directions'
import { EffectPanel, ToWorkbench } from '@/panels/component/EffectPanel'
import { ExamplesPanel } from '@/panels/component/ExamplesPanel'
import { HarvestLine } from '@/panels/component/HarvestPanel'
import { LabelEditor } from '@/panels/component/LabelEditor'
import { Cofiring, Neighbours } from '@/panels/component/Relations'
import { Stats } from '@/panels/component/Stats'
import { TokenTable } from '@/panels/component/TokenTables'
import { TryPanel } from '@/panels/component/TryPanel'
import { useTitle } from '@/state/hooks'
import { type ComponentSearch, componentFilter, listOf } from '@/state/lists'
import { forgetProblems, useProblems } from '@/state/problems'
import { useShortcuts } from '@/state/shortcuts'
import { Icon } from '@/ui/Icon'
import { Piece } from '@/ui/Piece'
import { AddressProblems, Empty, Notice, Panel, Skeleton } from '@/ui/surfaces'
import { LoadFailed } from './Root'

export function ComponentPage() {
  const { id, key } = useParams({ from: '/d/$id/c/$key' })
  const search = useSearch({ from: '/d/$id/c/$key' })
  const query = useQuery({
    ...queries.component(id, key, { ...componentFilter(search), harvest: search.harvest }),
    // While a new label or list loads, the page of this component stays.
    placeholderData: (old, asked) => (asked?.queryKey[2] === key ? keepPreviousData(old) : undefined),
  })
  useTitle(query.data?.label || shortKey(key))
  if (query.data) return <Component key={key} id={id} c={query.data} search={search} />
  if (query.error) return <LoadFailed error={query.error} retry={() => query.refetch()} />
  return (
    <div className="page">
      <Skeleton height={110} label="Loading the component" />
      <Skeleton height={320} />
    </div>
  )
}

function Component({ id, c, search }: { id: string; c: ComponentDetail; search: ComponentSearch }) {
  const navigate = useNavigate({ from: '/d/$id/c/$key' })
  const bos = useQuery(queries.decomposition(id)).data?.prompts[0]?.bos ?? false
  // The next component opens with the same list, quantile and text to try.
  const go = (key: string | null | undefined) =>
    key && void navigate({ to: '/d/$id/c/$key', params: { id, key }, search })
  const set = (patch: Partial<ComponentSearch>, replace = true) =>
    void navigate({ search: (old) => ({ ...old, ...patch }), replace, resetScroll: false })
  useShortcuts({ j: () => go(c.next), k: () => go(c.previous) })
  const h = c.harvest
  return (
    <div className="page component-page">
      <AddressProblems problems={useProblems('component')} onDismiss={() => forgetProblems('component')} />
      <div className="page-head">
        <div className="grow">
          <p className="small">
            <Link to="/d/$id/components" params={{ id }} search={listOf(search)}>
              Components
            </Link>{' '}
            / <span className="mono">{c.key}</span>
          </p>
          <LabelEditor id={id} c={c} />
          <p className="row soft">
            <span className="mono">{shortKey(c.key)}</span>
            <span className={`badge ${c.alive ? 'good' : ''}`}>{c.alive ? 'alive' : 'dead'}</span>
            {c.groups.map((group) => (
              <span key={group} className="badge accent">
                group {group}
              </span>
            ))}
          </p>
        </div>
        <span className="row">
          {c.previous && (
            <Link
              to="/d/$id/c/$key"
              params={{ id, key: c.previous }}
              search={search}
              className="btn"
              aria-label="Previous component"
            >
              <Icon name="left" /> <kbd>k</kbd>
            </Link>
          )}
          {c.next && (
            <Link
              to="/d/$id/c/$key"
              params={{ id, key: c.next }}
              search={search}
              className="btn"
              aria-label="Next component"
            >
              <kbd>j</kbd> <Icon name="right" />
            </Link>
          )}
          <ToWorkbench id={id} componentKey={c.key} site={c.site} />
        </span>
      </div>
      {!c.alive && <p className="small soft">{deadWords(h)}</p>}
      {h && <HarvestLine id={id} harvest={h.harvest} onChoose={(harvest) => set({ harvest })} />}
      {!h && (
        <Notice>
          There are no statistics over a corpus yet; the figures below are from the run’s own prompts. Start a
          harvest on the{' '}
          <Link to="/d/$id/components" params={{ id }}>
            components’ page
          </Link>
          .
        </Notice>
      )}
      <Stats c={c} />
      {h ? (
        <ExamplesPanel harvest={h} show={search.show ?? 'top'} onShow={(show) => set({ show })} />
      ) : (
        <OwnPrompts c={c} />
      )}
      <TryPanel
        id={id}
        componentKey={c.key}
        bos={bos}
        text={search.text ?? ''}
        onText={(text) => set({ text: text === '' ? undefined : text })}
      />
      {h ? (
        <>
          <div className="two-cols">
            <DirectionPanel title="Reads" side={h.reads} />
            <DirectionPanel title="Writes" side={h.writes} />
          </div>
          <EffectPanel harvest={h} />
          <div className="two-cols">
            <TokenTable
              of={id}
              name="tokens"
              title="Tokens it fires on"
              aside="the token at the position"
              none="It fires on no token"
              rows={h.inputs}
            />
            <TokenTable
              of={id}
              name="predictions"
              title="Predicted tokens"
              aside="most likely next token where it fires"
              none="It never fires"
              rows={h.outputs}
            />
            <Panel title="Causal importance" aside="positions with CI above 0, logarithmic">
              <div className="pad">
                <Histogram
                  label={`Positions of ${shortKey(c.key)} by causal importance`}
                  low={0}
                  high={1}
                  counts={h.ci_histogram}
                />
                <p className="small faint">
                  At {count(h.zeros)} of {count(h.harvest.positions)} positions it is exactly 0.
                </p>
              </div>
            </Panel>
            <Panel title="Inner activation" aside="all positions, and where it fires; logarithmic">
              <div className="pad">
                <Histogram
                  label={`Positions of ${shortKey(c.key)} by inner activation`}
                  low={h.activation_histogram.low}
                  high={h.activation_histogram.high}
                  counts={h.activation_histogram.counts}
                  part={h.activation_histogram.firing}
                  names={['positions', 'firing positions']}
                  axis={figure}
                />
                <p className="small faint">
                  <span className="hist-key whole" /> all <span className="hist-key" /> where it fires
                  {h.fires > 0 && ` (mean ${figure(h.mean_activation)})`}
                </p>
              </div>
            </Panel>
            <Cofiring id={id} harvest={h} search={search} />
            <Neighbours id={id} harvest={h} search={search} />
          </div>
        </>
      ) : (
        <div className="two-cols">
          <Tokens title="Fires on" words="tokens at which its CI is highest" tokens={c.top_tokens} />
          {c.reads.length > 0 && (
            <Tokens title="Reads" words="tokens whose embedding it reads most strongly" tokens={c.reads} />
          )}
          {c.writes.length > 0 && (
            <Tokens title="Writes" words="tokens its write direction promotes most" tokens={c.writes} />
          )}
        </div>
      )}
      {h && <OwnPrompts c={c} />}
    </div>
  )
}

function OwnPrompts({ c }: { c: ComponentDetail }) {
  return (
    <Panel
      title="On the run’s own prompts"
      aside={`where its CI is above 0${typeof c.effect === 'number' ? `; suppressed alone it moves an answer by up to ${nats(c.effect)} nats` : ''}`}
      tools={<Legend show="max" scale="linear" top={1} threshold={0} />}
    >
      {c.examples.length === 0 && <Empty title="No prompt of the run uses it" />}
      <ul className="examples">
        {c.examples.map((example, i) => (
          <li key={i}>
            <TokenShade tokens={example.tokens} ci={example.ci} activation={example.inner_activation} />
            <span className="badge">{SPLIT_WORDS[example.split]}</span>
          </li>
        ))}
      </ul>
    </Panel>
  )
}

function Tokens({ title, words, tokens }: { title: string; words: string; tokens: string[] }) {
  return (
    <Panel title={title} aside={words}>
      <div className="pad chips">
        {tokens.map((token, i) => (
          <span key={i} className="badge">
            <Piece text={token} />
          </span>
        ))}
        {tokens.length === 0 && <span className="soft small">none</span>}
      </div>
    </Panel>
  )
}

/** “Dead” refers to the run's own prompts; the figures on the page are from other text, where it may fire. */
function deadWords(harvest: ComponentDetail['harvest']): string {
  const own =
    'Dead: on the prompts this run was trained on, its causal importance never passes the threshold.'
  if (!harvest) return own
  const { fires, harvest: of } = harvest
  return fires > 0
    ? `${own} On the text below it does, at ${count(fires)} of ${count(of.positions)} positions.`
    : `${own} Nor does it on the text below.`
}
