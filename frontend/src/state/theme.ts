/** Light or dark: the system's choice until the reader makes one. `public/theme.js` sets it before the first paint. */
import { useSyncExternalStore } from 'react'

export type Theme = 'light' | 'dark'
const KEY = 'unweave-theme'

const read = (): Theme => (document.documentElement.dataset.theme === 'dark' ? 'dark' : 'light')

function subscribe(changed: () => void): () => void {
  const observer = new MutationObserver(changed)
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] })
  return () => observer.disconnect()
}

export function useTheme(): [Theme, (theme: Theme) => void] {
  const theme = useSyncExternalStore(subscribe, read)
  return [theme, setTheme]
}

function setTheme(theme: Theme) {
  document.documentElement.dataset.theme = theme
  try {
    localStorage.setItem(KEY, theme)
  } catch {
    // Without storage the choice lasts for this page only.
  }
}

/** Follow the system while the reader has not chosen. */
export function followSystemTheme() {
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', (event) => {
    try {
      if (localStorage.getItem(KEY)) return
    } catch {
      // Nothing stored, so nothing chosen.
    }
    document.documentElement.dataset.theme = event.matches ? 'dark' : 'light'
  })
}
