/** Greedy continuations of the prompts, by the original model and by the ablated one. */
import { useQueries } from '@tanstack/react-query'
import { experiments } from '@/api/experiments'
import type { Continuation } from '@/api/types'
import { probability, visible } from '@/api/words'
import { useSlow } from '@/state/hooks'
import { live } from '@/state/live'
import { promptBody } from '@/state/prompts'
import { trustFacts } from '@/state/trust'
import type { PromptView, Workbench } from '@/state/useWorkbench'
import { provenanceFacts } from '@/ui/download'
import { ExportMenu } from '@/ui/Export'
import { NumberField } from '@/ui/NumberField'
import { ErrorNotice, Recomputing, Skeleton } from '@/ui/surfaces'
import './continuation.css'

export function ContinuationPanel({ bench }: { bench: Workbench }) {
  const count = bench.search.len ?? 10
  const answers = useQueries({
    queries: bench.prompts.map((prompt) => ({
      ...experiments.continuation(bench.id, {
        ...promptBody(prompt.spec),
        components: prompt.suppressed,
        mode: prompt.suppressed.length > 0 ? bench.mode : ('suppress' as const),
        remainder: prompt.suppressed.length > 0 ? bench.remainder : ('on' as const),
        tokens: count,
      }),
      enabled: bench.ready && bench.known && prompt.shown.data !== undefined,
    })),
  }).map((query) => live<Continuation>(query))
  const slow = useSlow(answers.some((answer) => answer.stale || answer.pending))
  return (
    <div className="lab-body">
      <div className="lab-controls">
        <NumberField
          label="tokens"
          value={count}
          min={1}
          max={20}
          onChange={(len) => bench.set({ len }, { replace: true })}
        />
        <span className="grow" />
        <Recomputing on={slow} what="computing" />
      </div>
      <p className="small soft lab-note">
        Greedy: the most likely token at each step. Entries that act at all positions, or from one onwards,
        act on the new tokens too; entries at selected positions do not.
      </p>
      {bench.prompts.map((prompt, i) => {
        const answer = answers[i]
        if (!answer) return null
        return (
          <article key={i} className="continued" aria-label={`Continuations of ${prompt.name}`}>
            <div className="column-head">
              <span className="prompt-number small" aria-hidden="true">
                {i + 1}
              </span>
              <span className="mono small continued-prompt">{visible(prompt.text)}</span>
              <span className="grow" />
              {answer.data && (
                <ExportMenu
                  of={bench.id}
                  name={`continuations-${i + 1}`}
                  title={`Continuations of ${prompt.name}`}
                  facts={{ ...provenanceFacts(answer.data.provenance), ...trustFacts([prompt]) }}
                  table={() => table(answer.data as Continuation)}
                />
              )}
            </div>
            <ErrorNotice error={answer.error} onRetry={answer.retry} />
            {!answer.data && !answer.error && bench.ready && prompt.shown.data && (
              <Skeleton height={70} label="Computing continuations" />
            )}
            {answer.data && (
              <div className={slow && answer.stale ? 'stale' : undefined}>
                <Both prompt={prompt} answer={answer.data} />
              </div>
            )}
          </article>
        )
      })}
    </div>
  )
}

function Both({ prompt, answer }: { prompt: PromptView; answer: Continuation }) {
  const parted = answer.baseline.findIndex((token, i) => token.id !== answer.ablated[i]?.id)
  if (answer.baseline.length === 0 && answer.ablated.length === 0)
    return <p className="small soft">Nothing to continue: {answer.stopped ?? 'the model stops here.'}</p>
  return (
    <>
      <Line name="original" tokens={answer.baseline} parted={-1} />
      {prompt.suppressed.length > 0 ? (
        <Line name="ablated" tokens={answer.ablated} parted={parted} />
      ) : (
        <p className="small soft">Nothing is applied: press Suppress to compare.</p>
      )}
      {prompt.suppressed.length > 0 && parted < 0 && (
        <p className="small soft">The same {answer.baseline.length} tokens.</p>
      )}
      {answer.stopped && <p className="small soft">{answer.stopped}</p>}
    </>
  )
}

function Line({ name, tokens, parted }: { name: string; tokens: Continuation['baseline']; parted: number }) {
  return (
    <div className="continued-line">
      <span className="small soft">{name}</span>
      <ol aria-label={`Tokens, ${name}`}>
        {tokens.map((token, i) => (
          <li key={i} className={i === parted ? 'parted' : undefined}>
            <span className="mono">{visible(token.piece)}</span>
            <small className="num">{probability(token.probability)}</small>
            {i === parted && <span className="hidden-visually">, the first that differs</span>}
          </li>
        ))}
      </ol>
    </div>
  )
}

function table(answer: Continuation) {
  const rows = (['baseline', 'ablated'] as const).flatMap((which) =>
    answer[which].map((token, i) => ({
      model: which,
      number: i + 1,
      token_id: token.id,
      token: token.piece,
      probability: token.probability,
    })),
  )
  return {
    columns: [
      { key: 'model' },
      { key: 'number' },
      { key: 'token_id' },
      { key: 'token' },
      { key: 'probability', unit: 'probability' },
    ],
    rows,
  }
}
