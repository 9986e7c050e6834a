/// <reference types="node" />
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

const SRC = resolve(import.meta.dirname)
/** What each room may import, besides itself. */
const MAY: Record<string, string[]> = {
  api: [],
  state: ['api'],
  ui: ['api'],
  charts: ['api'],
  panels: ['api', 'state', 'ui', 'charts'],
  pages: ['api', 'state', 'ui', 'charts', 'panels'],
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((name) => /\.(ts|tsx|css)$/.test(name) && !name.includes('.test.') && !name.endsWith('schema.d.ts'))
  .map((name) => {
    const path = name.replaceAll('\\', '/')
    return {
      path,
      room: path.includes('/') ? (path.split('/')[0] ?? '') : '',
      text: readFileSync(join(SRC, name), 'utf8'),
    }
  })
const code = files.filter((file) => !file.path.endsWith('.css'))

/** Where an import leads, as a path from src; null for a package. */
function target(file: { path: string }, specifier: string): string | null {
  if (specifier.startsWith('@/')) return specifier.slice(2)
  if (!specifier.startsWith('.')) return null
  return relative(SRC, resolve(SRC, file.path, '..', specifier)).replaceAll('\\', '/')
}

const imports = code.flatMap((file) =>
  [...file.text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => ({
    file,
    specifier: match[1] ?? '',
  })),
)

describe('the rooms of the front end', () => {
  it('import only downwards: pages, panels, then charts, ui and state, then api', () => {
    const wrong = imports
      .filter(({ file }) => file.room !== '')
      .map(({ file, specifier }) => ({ file, to: target(file, specifier) }))
      .filter(
        ({ file, to }) =>
          to !== null && to.split('/')[0] !== file.room && !MAY[file.room]?.includes(to.split('/')[0] ?? ''),
      )
    expect(wrong.map(({ file, to }) => `${file.path} imports ${to}`)).toEqual([])
  })

  it('a panel never imports another panel', () => {
    const wrong = imports
      .filter(({ file }) => file.room === 'panels')
      .map(({ file, specifier }) => ({ file, to: target(file, specifier) }))
      .filter(({ file, to }) => to?.startsWith('panels/') && to.split('/')[1] !== file.path.split('/')[1])
    expect(wrong.map(({ file, to }) => `${file.path} imports ${to}`)).toEqual([])
  })

  it('one file imports Plotly', () => {
    const plotly = imports.filter(({ specifier }) => specifier.startsWith('plotly'))
    expect(plotly.map(({ file }) => file.path)).toEqual(['charts/plotly.ts'])
  })

  it('one file puts HTML on the page, and nothing calls alert', () => {
    expect(
      code.filter((file) => file.text.includes('dangerouslySetInnerHTML=')).map((file) => file.path),
    ).toEqual(['ui/Markdown.tsx'])
    expect(
      code.filter((file) => /\balert\(|innerHTML\s*=[^{]/.test(file.text)).map((file) => file.path),
    ).toEqual([])
  })

  it('no file of code is longer than 300 lines', () => {
    expect(code.filter((file) => file.text.split('\n').length > 301).map((file) => file.path)).toEqual([])
  })

  it('the lock file names no download addresses', () => {
    expect(readFileSync(join(SRC, '../package-lock.json'), 'utf8')).not.toMatch(/"resolved"\s*:\s*"http/)
  })
})
