/**
 * Messages about invalid addresses, by page. The router corrects an address before anything is rendered, so its messages
 * are stored here until they are dismissed.
 */
import { useSyncExternalStore } from 'react'

const messages = new Map<string, string[]>()
const listeners = new Set<() => void>()
const NONE: string[] = []

function notify() {
  for (const listener of listeners) listener()
}

export function noteProblems(page: string, problems: string[]) {
  if (problems.length === 0 || messages.get(page)?.join() === problems.join()) return
  messages.set(page, problems)
  // Addresses are also read during rendering; listeners are notified afterwards.
  queueMicrotask(notify)
}

export function forgetProblems(page: string) {
  messages.delete(page)
  notify()
}

function subscribe(listener: () => void) {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

export const useProblems = (page: string): string[] =>
  useSyncExternalStore(subscribe, () => messages.get(page) ?? NONE)
