/** The tour: whether this reader has seen or dismissed it, and its example. */
import { useSyncExternalStore } from 'react'
import type { Token } from '@/api/types'

export const TOUR_OF = 'induction'
const KEY = 'unweave-tour'
const listeners = new Set<() => void>()
let here: boolean | null = null

function read(): boolean {
  if (here !== null) return here
  try {
    return localStorage.getItem(KEY) !== null
  } catch {
    return false
  }
}

/** Not offered again; it can still be opened from the help. */
export function rememberTour() {
  here = true
  try {
    localStorage.setItem(KEY, 'seen')
  } catch {
    // Without storage it is remembered for this page only.
  }
  for (const listener of listeners) listener()
}

function subscribe(listener: () => void) {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

export const useTourSeen = (): boolean => useSyncExternalStore(subscribe, read)

export interface TourExample {
  /** The token that occurs twice, and its first position. */
  trigger: string
  first: number
  /** The token after it, which the model has to repeat. */
  answer: string
}

/** The example in an induction prompt: its last token occurs earlier too, and the token after that is the answer. */
export function tourExample(tokens: Token[]): TourExample | null {
  const last = tokens.at(-1)
  const first = last ? tokens.findIndex((token) => token.id === last.id) : -1
  const answer = tokens[first + 1]
  if (!last || !answer || first >= tokens.length - 2) return null
  return { trigger: last.piece, first, answer: answer.piece }
}
