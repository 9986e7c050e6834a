/** A component's label, edited in place. Every version is stored, and concurrent edits never overwrite each other. */
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { type FormEvent, useState } from 'react'
import { ApiError, client, unwrap } from '@/api/client'
import { queries } from '@/api/queries'
import type { ComponentDetail, LabelHistory } from '@/api/types'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { ErrorNotice, Notice, Popover } from '@/ui/surfaces'
import './component.css'

const MOST = 200
const NAME = 'unweave-author'

/** The author of edits, remembered by this browser. */
function remembered(): string {
  try {
    return localStorage.getItem(NAME) ?? ''
  } catch {
    return ''
  }
}

export function LabelEditor({ id, c }: { id: string; c: ComponentDetail }) {
  const [editing, setEditing] = useState(false)
  const [text, setText] = useState('')
  const [author, setAuthor] = useState(remembered)
  const [based, setBased] = useState(c.label_version)
  const cache = useQueryClient()
  const save = useMutation({
    mutationFn: (body: { text: string | null; author: string; version: number }) =>
      unwrap(
        client.PUT('/api/decompositions/{id}/components/{key}/label', {
          params: { path: { id, key: c.key } },
          body,
        }),
      ),
    onSuccess: (history) => {
      setEditing(false)
      cache.setQueryData(queries.labelHistory(id, c.key).queryKey, history)
      for (const key of ['component', 'components', 'labels'])
        void cache.invalidateQueries({ queryKey: [key, id] })
    },
  })
  const conflict =
    save.error instanceof ApiError && save.error.code === 'label_changed'
      ? (save.error.details?.current as LabelHistory | undefined)
      : undefined
  const begin = () => {
    setText(c.label)
    setBased(c.label_version)
    save.reset()
    setEditing(true)
  }
  const submit = (event: FormEvent) => {
    event.preventDefault()
    try {
      localStorage.setItem(NAME, author)
    } catch {
      // Without storage the name has to be typed again.
    }
    save.mutate({ text, author, version: based })
  }
  if (!editing) {
    return (
      <div className="label-line">
        <h1>{c.label || c.key}</h1>
        <Button kind="quiet" size="small" needs="write" onClick={begin}>
          <Icon name="edit" /> Edit label
        </Button>
        <Popover
          label="History of the label"
          trigger={
            <Button kind="quiet" size="small">
              {c.label_version === 0 ? 'automatic' : `version ${c.label_version}`}
            </Button>
          }
        >
          <History
            id={id}
            c={c}
            onRevert={(old) => save.mutate({ ...old, author, version: c.label_version })}
          />
        </Popover>
        <ErrorNotice error={save.error} />
      </div>
    )
  }
  return (
    <form className="label-form" onSubmit={submit}>
      <label className="grow">
        <span className="small faint">Label</span>
        <input
          className="input"
          value={text}
          maxLength={MOST}
          // biome-ignore lint/a11y/noAutofocus: the button that was pressed has become this field
          autoFocus
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => event.key === 'Escape' && setEditing(false)}
        />
      </label>
      <label>
        <span className="small faint">Your name (optional)</span>
        <input
          className="input"
          value={author}
          maxLength={60}
          onChange={(event) => setAuthor(event.target.value)}
        />
      </label>
      <span className="row">
        <Button kind="primary" type="submit" disabled={save.isPending || text.trim() === ''}>
          Save
        </Button>
        <Button onClick={() => setEditing(false)}>Cancel</Button>
        <span className="small faint num">
          {text.length} / {MOST}
        </span>
      </span>
      {conflict ? (
        <Notice
          tone="warn"
          actions={
            <>
              <Button
                size="small"
                onClick={() => {
                  setBased(conflict.version)
                  save.reset()
                }}
              >
                Save mine
              </Button>
              <Button
                size="small"
                onClick={() => {
                  setEditing(false)
                  void cache.invalidateQueries({ queryKey: ['component', id] })
                }}
              >
                Use theirs
              </Button>
            </>
          }
        >
          Somebody else has changed this label to <b>{conflict.current}</b>
          {conflict.items[0]?.author && ` (${conflict.items[0].author})`}. Nothing was overwritten.
        </Notice>
      ) : (
        <ErrorNotice error={save.error} />
      )}
    </form>
  )
}

function History(props: {
  id: string
  c: ComponentDetail
  onRevert: (old: { text: string | null }) => void
}) {
  const { id, c } = props
  const history = useQuery(queries.labelHistory(id, c.key))
  if (history.error) return <ErrorNotice error={history.error} onRetry={() => history.refetch()} />
  if (!history.data) return <p className="soft small">Loading…</p>
  const { items, automatic } = history.data
  return (
    <ol className="label-history" reversed>
      {items.map((item, i) => (
        <li key={item.version}>
          <span>{item.text ?? <i className="soft">automatic: {automatic}</i>}</span>
          <span className="small faint">
            version {item.version}
            {item.author && ` · ${item.author}`} ·{' '}
            <time dateTime={item.created_at}>{new Date(item.created_at).toLocaleString('en-GB')}</time>
          </span>
          {i > 0 && (
            <Button size="small" needs="write" onClick={() => props.onRevert({ text: item.text })}>
              Restore
            </Button>
          )}
        </li>
      ))}
      <li>
        <span>{automatic}</span>
        <span className="small faint">automatic label of the run</span>
        {items.length > 0 && items[0]?.text !== null && (
          <Button size="small" needs="write" onClick={() => props.onRevert({ text: null })}>
            Restore
          </Button>
        )}
      </li>
    </ol>
  )
}
