/** Share: the server recomputes what is on screen and stores it under its own link. */

import { useMutation, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { client, unwrap, withDefaults } from '@/api/client'
import { codeOfScreen } from '@/api/code'
import { at } from '@/api/root'
import type { AblationRequest, FindingRequest } from '@/api/types'
import { plural, visible } from '@/api/words'
import { promptBody } from '@/state/prompts'
import type { Workbench } from '@/state/useWorkbench'
import { TOP_K } from '@/state/workbench'
import { Button, CopyButton, Field } from '@/ui/controls'
import { ExportMenu } from '@/ui/Export'
import { Icon } from '@/ui/Icon'
import { Dialog, ErrorNotice } from '@/ui/surfaces'
import './share.css'

export function ShareDialog({ bench }: { bench: Workbench }) {
  const [open, setOpen] = useState(false)
  const [title, setTitle] = useState('')
  const [claim, setClaim] = useState('')
  const [notes, setNotes] = useState('')
  const queryClient = useQueryClient()
  const share = useMutation({
    mutationFn: (body: FindingRequest) => unwrap(client.POST('/api/findings', { body })),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: ['findings'] }),
  })
  const groups = usedGroups(bench)
  const start = (next: boolean) => {
    setOpen(next)
    if (!next) return
    share.reset()
    if (title === '') setTitle(suggestTitle(bench, groups))
  }
  const submit = () => share.mutate(toRequest(bench, { title, claim, notes, groups }))
  const link = share.data && new URL(at(share.data.url), window.location.origin).href
  const suppressed = bench.prompts[0]?.suppressed.length ?? 0
  return (
    <>
      <Button kind="primary" needs="write" disabled={!bench.ready} onClick={() => start(true)}>
        <Icon name="share" /> Share
      </Button>
      <Dialog
        open={open}
        onOpenChange={start}
        title={link ? 'Finding saved' : 'Share what is on screen'}
        description={
          link
            ? 'It shows the same prompts, components, positions and numbers, and needs no model to open.'
            : `${plural(bench.prompts.length, 'prompt')}, ${suppressed === 0 ? 'nothing suppressed' : `${plural(suppressed, 'component')} ${bench.mode === 'suppress' ? 'suppressed' : 'kept'}`}. The server recomputes the numbers and stores them permanently.`
        }
      >
        {link ? (
          <div className="form">
            <div className="share-link">
              <input
                className="input mono"
                readOnly
                value={link}
                aria-label="Link to the finding"
                onFocus={(event) => event.target.select()}
              />
              <CopyButton text={link}>Copy link</CopyButton>
            </div>
            <p>
              <Link to="/f/$slug" params={{ slug: share.data.slug }}>
                Open the finding
              </Link>
            </p>
          </div>
        ) : (
          <form
            className="form"
            onSubmit={(event) => {
              event.preventDefault()
              submit()
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
            <Field label="Claim" hint="One or two sentences: what do the numbers show?">
              {(id) => (
                <textarea
                  id={id}
                  className="input"
                  rows={2}
                  maxLength={1000}
                  value={claim}
                  onChange={(event) => setClaim(event.target.value)}
                />
              )}
            </Field>
            <Field label="Notes" hint="Markdown, if you like.">
              {(id) => (
                <textarea
                  id={id}
                  className="input"
                  rows={4}
                  maxLength={20_000}
                  value={notes}
                  onChange={(event) => setNotes(event.target.value)}
                />
              )}
            </Field>
            <ErrorNotice error={share.error} />
            <div className="form-actions">
              <Button type="submit" kind="primary" disabled={share.isPending || title.trim() === ''}>
                {share.isPending ? 'Computing…' : 'Create link'}
              </Button>
            </div>
          </form>
        )}
      </Dialog>
    </>
  )
}

function usedGroups(bench: Workbench): string[] {
  const baskets = {
    none: [],
    a: bench.baskets.a,
    b: bench.baskets.b,
    ab: [...bench.baskets.a, ...bench.baskets.b],
  }
  return [
    ...new Set(baskets[bench.condition].filter((entry) => entry.kind === 'group').map((entry) => entry.name)),
  ]
}

function suggestTitle(bench: Workbench, groups: string[]): string {
  const names = groups.map((name) => visible(bench.groupsByName.get(name)?.token.trim() ?? name))
  if (names.length > 0)
    return `${bench.mode === 'suppress' ? 'Without' : 'Only'} ${names.map((name) => `“${name}”`).join(' and ')}`
  const suppressed = bench.prompts[0]?.suppressed.length ?? 0
  return suppressed > 0
    ? `${plural(suppressed, 'component')} ${bench.mode === 'suppress' ? 'suppressed' : 'kept'}`
    : ''
}

function toRequest(
  bench: Workbench,
  words: { title: string; claim: string; notes: string; groups: string[] },
): FindingRequest {
  return {
    decomposition: bench.id,
    ...words,
    focus: bench.prompts.map((_, i) => bench.search.at?.[i] ?? -1),
    ablations: ablationsOf(bench),
  }
}

/** What is on screen, prompt by prompt. */
function ablationsOf(bench: Workbench): AblationRequest[] {
  return bench.prompts.map((prompt) =>
    withDefaults<AblationRequest>({
      ...promptBody(prompt.spec),
      components: prompt.suppressed,
      mode: prompt.suppressed.length > 0 ? bench.mode : 'suppress',
      remainder: prompt.suppressed.length > 0 ? bench.remainder : 'on',
      top_k: bench.search.k ?? TOP_K,
      watch: bench.watch,
    }),
  )
}

/** The Python that computes what is on screen, to copy or as a notebook. */
export function ScreenCode({ bench }: { bench: Workbench }) {
  return (
    <ExportMenu
      of={bench.id}
      name="workbench"
      title="this screen"
      code={(kind) => codeOfScreen(bench.id, { ablations: ablationsOf(bench) }, kind)}
    />
  )
}
