/** Keyboard shortcuts, inactive while someone types. */
import { useEffect, useRef } from 'react'

export interface Shortcut {
  keys: string
  what: string
}

/** The keys listed in the help. A page binds its own keys. */
export const SHORTCUTS: { where: string; keys: Shortcut[] }[] = [
  {
    where: 'Everywhere',
    keys: [
      { keys: '/', what: 'go to the search or prompt box' },
      { keys: '?', what: 'this sheet' },
      { keys: 'g g', what: 'gallery' },
      { keys: 'g f', what: 'findings' },
      { keys: 'g j', what: 'jobs' },
      { keys: 't', what: 'light or dark' },
    ],
  },
  {
    where: 'Workbench',
    keys: [
      { keys: 'j k', what: 'next and previous in the list of components' },
      { keys: 'a b', what: 'put it into basket A or B' },
      { keys: 's', what: 'suppress basket A' },
      { keys: 'r', what: 'restore: show the original model' },
      { keys: '← → ↑ ↓', what: 'move the selection in the grid, when it has the focus' },
      { keys: 'Esc', what: 'clear the selection' },
    ],
  },
  {
    where: 'Components',
    keys: [
      { keys: 'j k', what: 'next and previous component' },
      { keys: 'Enter', what: 'open the component' },
    ],
  },
]

export const typing = (target: EventTarget | null) =>
  target instanceof HTMLElement &&
  (target.isContentEditable ||
    /^(TEXTAREA|SELECT)$/.test(target.tagName) ||
    (target instanceof HTMLInputElement && target.type !== 'range'))

/** Binds single keys while mounted. A handler that returns false passes the key on to the browser. */
export function useShortcuts(handlers: Record<string, (event: KeyboardEvent) => unknown>, active = true) {
  const latest = useRef(handlers)
  latest.current = handlers
  useEffect(() => {
    if (!active) return
    const listen = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event.target))
        return
      if (document.querySelector('[role="dialog"]')) return
      const handler = latest.current[event.key]
      if (handler && handler(event) !== false) event.preventDefault()
    }
    document.addEventListener('keydown', listen)
    return () => document.removeEventListener('keydown', listen)
  }, [active])
}

/** `/` focuses the search or prompt box. */
export function focusSearch() {
  const box = document.querySelector<HTMLElement>('[data-search]')
  box?.focus()
  return box !== null
}
