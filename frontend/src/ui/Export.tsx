import { DropdownMenu } from 'radix-ui'
import { useEffect, useState } from 'react'
import { sentenceOf } from '@/api/client'
import type { CodeKind } from '@/api/code'
import { Button } from './controls'
import { type Facts, fileName, save, type TableData, tableFile } from './download'
import { Icon } from './Icon'
import { framed, rasterised } from './picture'
import { Notice } from './surfaces'

interface Other {
  label: string
  ending: string
  /** The text of the file. */
  make: () => string | Promise<string>
}

/**
 * A menu to save a table as CSV or JSON, written by the server, and a figure as PNG or SVG, drawn here. `figure` returns an SVG
 * with a width and a height: see `charts/export.ts`.
 */
export function ExportMenu(props: {
  /** The decomposition or the finding; the first part of the file name. */
  of: string
  /** The second part of the file name. */
  name: string
  /** The title of the figure, and the label of the button. */
  title: string
  table?: () => TableData | Promise<TableData>
  figure?: () => string | Promise<string>
  facts?: Facts
  /** Files written by the server, for tables that are too long for the page. */
  links?: { label: string; href: string }[]
  more?: Other[]
  /** The Python that computes it again, written by the server. */
  code?: (kind: CodeKind) => Promise<string>
}) {
  const { of, name, title, table, figure, links = [], more = [], code } = props
  const [message, setMessage] = useState<string | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  useEffect(() => {
    if (!message) return
    const timer = setTimeout(() => setMessage(null), 4000)
    return () => clearTimeout(timer)
  }, [message])
  const facts = { ...props.facts, what: title, page: window.location.href }
  const store = async (ending: string, make: () => Promise<Blob>) => {
    const file = fileName(of, name, ending)
    setBusy(true)
    setError(null)
    try {
      save(file, await make())
      setMessage(`Saved ${file}`)
    } catch (failure) {
      setError(failure)
    } finally {
      setBusy(false)
    }
  }
  const copy = async (make: () => Promise<string>) => {
    setError(null)
    try {
      await navigator.clipboard.writeText(await make())
      setMessage('Copied')
    } catch (failure) {
      setError(failure)
    }
  }
  const blob = (text: string, type: string) => new Blob([text], { type })
  const items: [string, () => Promise<void>][] = []
  if (table) {
    const write = async (kind: 'csv' | 'json') => tableFile(kind, { of, name, facts }, await table())
    items.push(['CSV', () => store('csv', () => write('csv'))])
    items.push(['JSON', () => store('json', () => write('json'))])
  }
  if (figure) {
    const draw = async () => framed(await figure(), { title, facts })
    items.push(['PNG', () => store('png', async () => rasterised(await draw()))])
    items.push(['SVG', () => store('svg', async () => blob(await draw(), 'image/svg+xml'))])
  }
  for (const { label, ending, make } of more)
    items.push([label, () => store(ending, async () => blob(await make(), 'text/plain'))])
  if (code) {
    items.push(['Notebook', () => store('ipynb', async () => blob(await code('ipynb'), 'application/json'))])
    items.push(['Python', () => store('py', async () => blob(await code('py'), 'text/plain'))])
  }
  return (
    <span className="export">
      <DropdownMenu.Root modal={false}>
        <DropdownMenu.Trigger asChild>
          <Button kind="quiet" size="small" icon disabled={busy} aria-label={`Export ${title}`}>
            <Icon name="save" />
          </Button>
        </DropdownMenu.Trigger>
        <DropdownMenu.Portal>
          <DropdownMenu.Content className="menu small" align="end" sideOffset={4} collisionPadding={8}>
            <DropdownMenu.Label className="menu-label">Save as</DropdownMenu.Label>
            {items.map(([label, act]) => (
              <DropdownMenu.Item key={label} className="menu-item" onSelect={() => void act()}>
                {label}
              </DropdownMenu.Item>
            ))}
            {links.map(({ label, href }) => (
              <DropdownMenu.Item key={label} asChild>
                <a className="menu-item" href={href} download>
                  {label}
                </a>
              </DropdownMenu.Item>
            ))}
            {code && (
              <DropdownMenu.Item className="menu-item" onSelect={() => void copy(() => code('py'))}>
                Copy as Python
              </DropdownMenu.Item>
            )}
          </DropdownMenu.Content>
        </DropdownMenu.Portal>
      </DropdownMenu.Root>
      <span className="export-message" role="status">
        {message}
      </span>
      {error !== null && (
        <span className="export-problem">
          <Notice tone="error" onDismiss={() => setError(null)}>
            {sentenceOf(error)}
          </Notice>
        </span>
      )}
    </span>
  )
}
