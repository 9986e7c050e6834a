import { useMutation, useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { newRun, readYaml } from '@/api/newRun'
import { useDebounced } from '@/state/hooks'
import type { Config } from '@/state/newRun'
import { Button, CopyButton } from '@/ui/controls'
import { ErrorNotice, Panel } from '@/ui/surfaces'
import './new.css'

/** The config as YAML, which follows the form; edited here, the form follows it. */
export function YamlPanel({
  config,
  ready,
  onConfig,
}: {
  config: Config
  ready: boolean
  onConfig: (config: Config) => void
}) {
  const review = useQuery(newRun.review(useDebounced(config, 400), ready))
  const [edited, setEdited] = useState<string | null>(null)
  const apply = useMutation({
    mutationFn: readYaml,
    onSuccess: (read) => {
      onConfig(read.config)
      setEdited(null)
    },
  })
  const text = edited ?? review.data?.yaml ?? ''
  return (
    <Panel title="As YAML" aside="follows the form, and the form follows it">
      <div className="pad new-step">
        <textarea
          className="input mono yaml-text"
          aria-label="Config as YAML"
          spellCheck={false}
          rows={18}
          value={text}
          placeholder="Choose a model and data; or paste a config."
          onChange={(event) => setEdited(event.target.value)}
        />
        <ErrorNotice error={apply.error} />
        <div className="row">
          <Button
            disabled={edited === null || apply.isPending}
            onClick={() => edited !== null && apply.mutate(edited)}
          >
            {apply.isPending ? 'Reading…' : 'Apply'}
          </Button>
          <Button kind="quiet" disabled={edited === null} onClick={() => setEdited(null)}>
            Take it back
          </Button>
          <span className="grow" />
          <CopyButton text={text}>Copy</CopyButton>
        </div>
      </div>
    </Panel>
  )
}
