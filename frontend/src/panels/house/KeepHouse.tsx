import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useState } from 'react'
import { client, unwrap } from '@/api/client'
import { dependents } from '@/api/house'
import type { Decomposition, Dependents } from '@/api/types'
import { plural } from '@/api/words'
import { Button, Field } from '@/ui/controls'
import { Dialog, ErrorNotice, Skeleton } from '@/ui/surfaces'

/** Rename, describe, put away and delete a decomposition; what depends on it is named before it goes. */
export function KeepHouse({ decomposition: d }: { decomposition: Decomposition }) {
  const [open, setOpen] = useState<'edit' | 'delete' | null>(null)
  return (
    <>
      <Button needs="write" onClick={() => setOpen('edit')}>
        Rename or archive
      </Button>
      {!d.shipped && (
        <Button needs="admin" onClick={() => setOpen('delete')}>
          Delete
        </Button>
      )}
      {open === 'edit' && <Edit decomposition={d} onClose={() => setOpen(null)} />}
      {open === 'delete' && <Delete decomposition={d} onClose={() => setOpen(null)} />}
    </>
  )
}

interface Props {
  decomposition: Decomposition
  onClose: () => void
}

function Edit({ decomposition: d, onClose }: Props) {
  const [title, setTitle] = useState(d.title)
  const [description, setDescription] = useState(d.description)
  const [tags, setTags] = useState(d.tags.join(', '))
  const queryClient = useQueryClient()
  const save = useMutation({
    mutationFn: (archived: boolean) =>
      unwrap(
        client.PATCH('/api/decompositions/{id}', {
          params: { path: { id: d.id } },
          body: {
            title: title.trim() || null,
            description,
            archived,
            tags: tags
              .split(',')
              .map((tag) => tag.trim())
              .filter(Boolean),
          },
        }),
      ),
    onSuccess: (next) => {
      queryClient.setQueryData(['decomposition', d.id], next)
      void queryClient.invalidateQueries({ queryKey: ['decompositions'] })
      onClose()
    },
  })
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      title="Rename or archive"
      description="On this server. Its address, its content and the findings about it stay as they are."
    >
      <Field label="Title" hint="empty: as the run called it">
        {(id) => (
          <input
            id={id}
            className="input"
            value={title}
            maxLength={200}
            onChange={(event) => setTitle(event.target.value)}
          />
        )}
      </Field>
      <Field label="Description">
        {(id) => (
          <textarea
            id={id}
            className="input"
            rows={4}
            value={description}
            maxLength={2000}
            onChange={(event) => setDescription(event.target.value)}
          />
        )}
      </Field>
      <Field label="Tags" hint="separated by commas; the gallery finds by them">
        {(id) => (
          <input id={id} className="input" value={tags} onChange={(event) => setTags(event.target.value)} />
        )}
      </Field>
      <ErrorNotice error={save.error} />
      <div className="row">
        <Button kind="primary" disabled={save.isPending} onClick={() => save.mutate(d.archived === true)}>
          Save
        </Button>
        <Button disabled={save.isPending} onClick={() => save.mutate(d.archived !== true)}>
          {d.archived ? 'Take out of the archive' : 'Archive'}
        </Button>
      </div>
    </Dialog>
  )
}

function Delete({ decomposition: d, onClose }: Props) {
  const found = useQuery(dependents(d.id))
  const queryClient = useQueryClient()
  const navigate = useNavigate()
  const remove = useMutation({
    mutationFn: () =>
      unwrap(client.DELETE('/api/decompositions/{id}', { params: { path: { id: d.id } }, parseAs: 'text' })),
    onSuccess: async () => {
      await navigate({ to: '/' })
      queryClient.removeQueries({ queryKey: ['decomposition', d.id] })
      await queryClient.invalidateQueries({ queryKey: ['decompositions'] })
    },
  })
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()} title={`Delete “${d.title}”?`}>
      {found.isPending && <Skeleton height={60} label="Looking at what depends on it" />}
      <ErrorNotice error={found.error ?? remove.error} />
      {found.data && <Depends found={found.data} />}
      <div className="row">
        <Button kind="primary" disabled={!found.data || remove.isPending} onClick={() => remove.mutate()}>
          {remove.isPending ? 'Deleting…' : 'Delete it'}
        </Button>
        <Button onClick={onClose}>Keep it</Button>
      </div>
    </Dialog>
  )
}

function Depends({ found }: { found: Dependents }) {
  return (
    <>
      <p>
        It takes {(found.disk_bytes / 1e6).toFixed(1)} MB. Its folder
        {found.harvests > 0 && ` and ${plural(found.harvests, 'harvest')}`} will be removed; this cannot be
        taken back.
      </p>
      {found.findings_total > 0 && (
        <p>
          {plural(found.findings_total, 'finding')} about it keep their numbers, and can no longer be
          recomputed: {found.findings.join(', ')}
          {found.findings_total > found.findings.length && ', …'}.
        </p>
      )}
      {found.labels > 0 && (
        <p>{plural(found.labels, 'label')} stay in the database, for when it is imported again.</p>
      )}
    </>
  )
}
