/** The state of the model's weights until they are ready. */
import type { Decomposition } from '@/api/types'
import { useTarget } from '@/state/useTarget'
import { Button } from '@/ui/controls'
import { ErrorNotice, Notice, Progress } from '@/ui/surfaces'
import './target.css'

const DOING = {
  fetching: 'Fetching the weights',
  converting: 'Converting the weights',
  loading: 'Loading the weights',
} as const

export function TargetNotice({ decomposition }: { decomposition: Decomposition }) {
  const want = useTarget(decomposition)
  const { state, progress = null, message, model } = decomposition.target
  if (state === 'ready') return null
  if (state === 'failed' || state === 'absent') {
    const failed = state === 'failed'
    return (
      <Notice
        tone={failed ? 'error' : 'info'}
        actions={
          <Button size="small" disabled={want.isPending} onClick={() => want.mutate()}>
            {failed ? 'Try again' : 'Fetch the weights'}
          </Button>
        }
      >
        <strong>
          {failed
            ? `The weights of ${model} could not be loaded.`
            : `The weights of ${model} are not here yet.`}
        </strong>{' '}
        {message}
        <br />
        The findings and whatever is stored with the run are available in the meantime.
        <ErrorNotice error={want.error} />
      </Notice>
    )
  }
  return (
    <Notice>
      <strong>
        {DOING[state]} of {model}
        {progress !== null ? `, ${Math.round(progress * 100)} %` : ''}
      </strong>{' '}
      {message}
      <div className="target-progress">
        <Progress value={progress} label={DOING[state]} />
      </div>
      Live ablation starts once they are ready. Until then the importances stored with the run are shown for
      its own prompts.
    </Notice>
  )
}
