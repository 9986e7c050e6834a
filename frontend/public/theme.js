// Runs before the first paint, so that a reader in the dark is not flashed with white.
;(() => {
  let stored = null
  try {
    stored = localStorage.getItem('unweave-theme')
  } catch {}
  const dark = stored === 'dark' || (stored !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches)
  document.documentElement.dataset.theme = dark ? 'dark' : 'light'
})()
