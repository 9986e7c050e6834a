/**
 * What was wrong with an address, by page. The router puts a wrong address right before anything is drawn, so the
 * sentences about it are kept here, until the reader has dismissed them.
 */
import { useSyncExternalStore } from 'react'

const kept = new Map<string, string[]>()
const listeners = new Set<() => void>()
const NONE: string[] = []

function tell() {
  for (const listener of listeners) listener()
}

export function noteProblems(page: string, problems: string[]) {
  if (problems.length === 0 || kept.get(page)?.join() === problems.join()) return
  kept.set(page, problems)
  // Addresses are also read while a page is being drawn; whoever listens is told after that.
  queueMicrotask(tell)
}

export function forgetProblems(page: string) {
  kept.delete(page)
  tell()
}

function subscribe(listener: () => void) {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

export const useProblems = (page: string): string[] =>
  useSyncExternalStore(subscribe, () => kept.get(page) ?? NONE)
