import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useState } from 'react'
import { client, unwrap } from '@/api/client'
import type { CollectionRequest } from '@/api/types'
import { plural } from '@/api/words'
import { Button, Field } from '@/ui/controls'
import { Dialog, ErrorNotice } from '@/ui/surfaces'
import './finding.css'

/** What is chosen in a list of findings, and the way to keep it as a collection with a link of its own. */
export function Collect({ slugs, onClear }: { slugs: string[]; onClear: () => void }) {
  const [open, setOpen] = useState(false)
  const [title, setTitle] = useState('')
  const [description, setDescription] = useState('')
  const navigate = useNavigate()
  const queryClient = useQueryClient()
  const make = useMutation({
    mutationFn: (body: CollectionRequest) => unwrap(client.POST('/api/collections', { body })),
    onSuccess: (made) => {
      onClear()
      void queryClient.invalidateQueries({ queryKey: ['collections'] })
      void navigate({ to: '/collections/$slug', params: { slug: made.slug } })
    },
  })
  if (slugs.length === 0) return null
  return (
    <section className="panel collect row" aria-label="Chosen findings">
      <b>{plural(slugs.length, 'finding')} chosen</b>
      <span className="grow" />
      <Button kind="primary" onClick={() => setOpen(true)}>
        Make a collection
      </Button>
      <Button kind="quiet" onClick={onClear}>
        Clear
      </Button>
      <Dialog
        open={open}
        onOpenChange={setOpen}
        title="Make a collection"
        description="It gets a link of its own and, like a finding, is never changed afterwards."
      >
        <form
          className="stack"
          onSubmit={(event) => {
            event.preventDefault()
            make.mutate({ title: title.trim(), description: description.trim(), findings: slugs })
          }}
        >
          <Field label="Title">
            {(id) => (
              <input
                id={id}
                className="input"
                required
                maxLength={200}
                value={title}
                onChange={(event) => setTitle(event.target.value)}
              />
            )}
          </Field>
          <Field label="What they show together" hint="plain text, may be left out">
            {(id) => (
              <textarea
                id={id}
                className="input"
                rows={3}
                maxLength={2000}
                value={description}
                onChange={(event) => setDescription(event.target.value)}
              />
            )}
          </Field>
          <ErrorNotice error={make.error} />
          <Button type="submit" kind="primary" disabled={make.isPending || title.trim() === ''}>
            {make.isPending ? 'Keeping…' : 'Keep it'}
          </Button>
        </form>
      </Dialog>
    </section>
  )
}
