import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { useState } from 'react'
import { queries } from '@/api/queries'
import type { Decomposition } from '@/api/types'
import { CircuitControls } from '@/panels/circuit/CircuitControls'
import { CircuitPanel } from '@/panels/circuit/CircuitPanel'
import { Explained } from '@/panels/circuit/Explained'
import { PromptEditor } from '@/panels/prompts/PromptEditor'
import { TargetNotice } from '@/panels/target/TargetNotice'
import { type CircuitSearch, MOST_EDGES } from '@/state/circuit'
import { useSlow, useTitle } from '@/state/hooks'
import { forgetProblems, useProblems } from '@/state/problems'
import { decodePrompt, encodePrompt, type PromptSpec, promptBody, promptText } from '@/state/prompts'
import { Button } from '@/ui/controls'
import { AddressProblems, Empty, ErrorNotice, Recomputing, Skeleton } from '@/ui/surfaces'
import { WithDecomposition } from './WithDecomposition'

export function CircuitPage() {
  const { id } = useParams({ from: '/d/$id/circuit' })
  return (
    <WithDecomposition id={id} heights={[120, 420]}>
      {(d) => <CircuitOf key={id} decomposition={d} />}
    </WithDecomposition>
  )
}

function CircuitOf({ decomposition }: { decomposition: Decomposition }) {
  const { id } = decomposition
  const search = useSearch({ from: '/d/$id/circuit' })
  const navigate = useNavigate({ from: '/d/$id/circuit' })
  useTitle(`${decomposition.title}, circuit`)
  const first = decomposition.prompts[0]
  const fallback: PromptSpec | null = first ? { text: first.text, bos: first.bos } : null
  const spec = (search.p === undefined ? fallback : decodePrompt(search.p)) ?? fallback
  const threshold = search.t ?? decomposition.provenance.threshold
  const ready = decomposition.target.state === 'ready'
  const request = {
    ...promptBody(spec ?? { text: '', bos: false }),
    threshold,
    top_edges: MOST_EDGES,
    output: { position: search.at, token: search.tok, against: search.vs },
  }
  const query = useQuery({ ...queries.circuit(id, request), enabled: spec !== null && ready })
  const busy = useSlow(query.isFetching)
  const circuit = query.error ? undefined : query.data
  const go = (change: Partial<CircuitSearch>) =>
    void navigate({ search: { ...search, ...change }, resetScroll: false })
  return (
    <div className="page">
      <div className="page-head">
        <div>
          <h1>Circuit of a prompt</h1>
          <p className="lead">
            How the components in use on this prompt feed one another and the output. An edge is what one
            component adds to another’s activation, with norms and attention patterns held fixed; its effect
            is the change of the output that follows, to first order.
          </p>
        </div>
      </div>
      <AddressProblems problems={useProblems('circuit')} onDismiss={() => forgetProblems('circuit')} />
      <TargetNotice decomposition={decomposition} />
      {spec && (
        <PromptLine
          key={encodePrompt(spec)}
          id={id}
          decomposition={decomposition}
          spec={spec}
          text={promptText(spec, query.data?.tokens ?? first?.tokens ?? [])}
          onPrompt={(next) => go({ p: encodePrompt(next), at: undefined, pin: undefined, sel: undefined })}
        />
      )}
      <CircuitControls
        circuit={circuit}
        tokens={circuit?.tokens.length ?? 0}
        threshold={threshold}
        search={search}
        onSearch={go}
      />
      <ErrorNotice error={query.error} onRetry={() => query.refetch()} />
      <div className="circuit-sentence">
        {circuit && <Explained circuit={circuit} />}
        <Recomputing on={busy} what="Computing the circuit" />
      </div>
      {!spec && <Empty title="This run has no prompts">Type one above.</Empty>}
      {!circuit && query.isFetching && <Skeleton height={420} label="Computing the circuit" />}
      {circuit && spec && (
        <div className={query.isPlaceholderData ? 'stale' : undefined} aria-busy={query.isPlaceholderData}>
          <CircuitPanel
            decomposition={decomposition}
            circuit={circuit}
            spec={spec}
            request={request}
            search={search}
            onSearch={go}
          />
        </div>
      )}
    </div>
  )
}

/** The prompt: typed, or one of the run's own. */
function PromptLine(props: {
  id: string
  decomposition: Decomposition
  spec: PromptSpec
  text: string
  onPrompt: (spec: PromptSpec) => void
}) {
  const [text, setText] = useState(props.text)
  const [bos, setBos] = useState(props.spec.bos)
  const [plain, setPlain] = useState(props.spec.plain ?? false)
  const done = () => text !== '' && props.onPrompt({ text, bos, ...(plain ? { plain } : {}) })
  return (
    <div>
      <PromptEditor
        id={props.id}
        name="Prompt"
        search
        text={text}
        bos={bos}
        onText={setText}
        onBos={setBos}
        plain={plain}
        onPlain={setPlain}
        onDone={done}
        onCancel={() => setText(props.text)}
        actions={
          <>
            <Button kind="primary" disabled={text === ''} onClick={done}>
              Show its circuit
            </Button>
            <Link
              to="/d/$id/workbench"
              params={{ id: props.id }}
              search={{ p: [encodePrompt(props.spec)] }}
              className="btn quiet"
            >
              Workbench
            </Link>
          </>
        }
      />
    </div>
  )
}
