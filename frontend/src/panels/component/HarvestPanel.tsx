/** The corpus of the statistics, the other harvests of the decomposition, and a form to start one. */
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { type FormEvent, useState } from 'react'
import { client, unwrap } from '@/api/client'
import { queries } from '@/api/queries'
import type { HarvestSummary } from '@/api/types'
import { count, day } from '@/api/words'
import { Button } from '@/ui/controls'
import { Dialog, ErrorNotice, Notice } from '@/ui/surfaces'
import './component.css'

/** One line that names the corpus of the statistics. */
export function HarvestLine(props: {
  id: string
  harvest: HarvestSummary
  onChoose: (harvest: string) => void
}) {
  const { harvest } = props
  const all = useQuery(queries.harvests(props.id)).data?.items ?? []
  return (
    <p className="harvest-line small soft">
      <span>
        Statistics over <b>{harvest.described}</b>: {count(harvest.tokens)} tokens in {count(harvest.windows)}{' '}
        texts, {count(harvest.fired)} of {count(harvest.components)} components fire (CI above{' '}
        {harvest.threshold}).
        {!harvest.all_read && ' It stopped at its token limit, before the end of the corpus.'} Seed{' '}
        {harvest.seed}, corpus{' '}
        <span className="mono" title={harvest.corpus_hash}>
          {harvest.corpus_hash.slice(0, 8)}
        </span>
        , {day(harvest.created_at)}.{harvest.notes.map((note) => ` ${note}`)}
      </span>
      {all.length > 1 && (
        <select
          className="input"
          aria-label="Harvest"
          value={harvest.id}
          onChange={(event) => props.onChoose(event.target.value)}
        >
          {all.map((one) => (
            <option key={one.id} value={one.id}>
              {one.corpus} · {count(one.tokens)} tokens · {day(one.created_at)}
            </option>
          ))}
        </select>
      )}
    </p>
  )
}

/** Starts a harvest over the built-in sentences or over a text. */
export function NewHarvest({ id, text: takesText }: { id: string; text: boolean }) {
  const [open, setOpen] = useState(false)
  const [text, setText] = useState('')
  const cache = useQueryClient()
  const start = useMutation({
    mutationFn: () =>
      unwrap(
        client.POST('/api/decompositions/{id}/harvests', {
          params: { path: { id } },
          body: { config: text.trim() === '' ? {} : { text, name: 'own-text' } },
        }),
      ),
    onSuccess: () => cache.invalidateQueries({ queryKey: ['jobs'] }),
  })
  const submit = (event: FormEvent) => {
    event.preventDefault()
    start.mutate()
  }
  return (
    <>
      <Button needs="write" onClick={() => setOpen(true)}>
        Harvest…
      </Button>
      <Dialog
        open={open}
        onOpenChange={setOpen}
        title="Harvest over a corpus"
        description="A job runs the model over the texts and collects the statistics for every component’s page. Pages show the newest harvest."
      >
        <form className="harvest-form" onSubmit={submit}>
          {takesText && (
            <label>
              <span className="field-label">
                Text, one sentence per line; empty for the built-in sentences
              </span>
              <textarea
                className="input"
                rows={7}
                maxLength={200_000}
                value={text}
                onChange={(event) => setText(event.target.value)}
              />
            </label>
          )}
          <p className="small soft">
            Larger corpora: <code>unweave harvest {id} --corpus FOLDER</code>
          </p>
          <ErrorNotice error={start.error} />
          {start.data ? (
            <Notice tone="good">
              Queued. <Link to="/jobs">See the jobs</Link>
            </Notice>
          ) : (
            <Button kind="primary" type="submit" disabled={start.isPending}>
              Start
            </Button>
          )}
        </form>
      </Dialog>
    </>
  )
}
