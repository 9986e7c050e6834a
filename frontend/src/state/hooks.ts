import { useEffect, useState } from 'react'

/** `value`, once it has not changed for `wait` milliseconds. */
export function useDebounced<T>(value: T, wait: number): T {
  const [settled, setSettled] = useState(value)
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), wait)
    return () => clearTimeout(timer)
  }, [value, wait])
  return settled
}

/** True once `busy` has lasted `wait` milliseconds, so that fast operations do not flicker. */
export function useSlow(busy: boolean, wait = 120): boolean {
  const [slow, setSlow] = useState(false)
  useEffect(() => {
    if (!busy) {
      setSlow(false)
      return
    }
    const timer = setTimeout(() => setSlow(true), wait)
    return () => clearTimeout(timer)
  }, [busy, wait])
  return slow
}

export function useTitle(title: string) {
  useEffect(() => {
    document.title = `${title} · Unweave`
  }, [title])
}
