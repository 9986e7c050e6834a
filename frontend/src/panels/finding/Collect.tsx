import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useState } from 'react'
import { client, unwrap } from '@/api/client'
import type { CollectionRequest } from '@/api/types'
import { plural } from '@/api/words'
import { Button, Field } from '@/ui/controls'
import { Dialog, ErrorNotice } from '@/ui/surfaces'
import './finding.css'

/** The findings selected in a list, and a form that saves them as a collection with its own link. */
export function Collect({ slugs, onClear }: { slugs: string[]; onClear: () => void }) {
  const [open, setOpen] = useState(false)
  const [title, setTitle] = useState('')
  const [description, setDescription] = useState('')
  const navigate = useNavigate()
  const queryClient = useQueryClient()
  const make = useMutation({
    mutationFn: (body: CollectionRequest) => unwrap(client.POST('/api/collections', { body })),
    onSuccess: (collection) => {
      onClear()
      void queryClient.invalidateQueries({ queryKey: ['collections'] })
      void navigate({ to: '/collections/$slug', params: { slug: collection.slug } })
    },
  })
  if (slugs.length === 0) return null
  return (
    <section className="panel collect row" aria-label="Selected findings">
      <b>{plural(slugs.length, 'finding')} chosen</b>
      <span className="grow" />
      <Button kind="primary" needs="write" onClick={() => setOpen(true)}>
        Create a collection
      </Button>
      <Button kind="quiet" onClick={onClear}>
        Clear
      </Button>
      <Dialog
        open={open}
        onOpenChange={setOpen}
        title="Create a collection"
        description="A collection has its own link and, like a finding, never changes."
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
          <Field label="Description" hint="plain text, optional">
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
            {make.isPending ? 'Saving…' : 'Save'}
          </Button>
        </form>
      </Dialog>
    </section>
  )
}
