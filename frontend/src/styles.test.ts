/// <reference types="node" />
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

const SRC = resolve(import.meta.dirname)
const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .map((name) => name.replaceAll('\\', '/'))
  .filter((path) => /\.(tsx?|css)$/.test(path) && !path.includes('.test.') && !path.endsWith('schema.d.ts'))
  .map((path) => ({ path, text: readFileSync(join(SRC, path), 'utf8') }))
const sheets = files
  .filter((file) => file.path.endsWith('.css'))
  .map((file) => ({ ...file, room: room(file.path), rules: selectors(file.text) }))
const code = files
  .filter((file) => !file.path.endsWith('.css'))
  .map((file) => ({ ...file, room: room(file.path), classes: classesIn(file.text) }))

/** A panel is a folder of panels/; every other room is a folder of src. */
function room(path: string): string {
  const [top = '', folder, file] = path.split('/')
  return top === 'panels' && file ? `panels/${folder}` : top
}

/** Every selector of a sheet, with comments, at-rules and declarations taken away. */
function selectors(css: string): string[] {
  const bare = css.replace(/\/\*.*?\*\//gs, '')
  return [...bare.matchAll(/([^{};]+)\{/g)]
    .map((match) => (match[1] ?? '').trim())
    .filter((prelude) => !prelude.startsWith('@'))
    .flatMap((prelude) => prelude.split(/,(?![^(]*\))/))
    .map((selector) => selector.trim())
}

/** The class a selector starts with: the thing it styles, or whose inside it styles. */
function owner(selector: string): string | null {
  return /^[a-z0-9]*\.([\w-]+)/.exec(selector)?.[1] ?? null
}

function allClasses(selector: string): string[] {
  return [...selector.matchAll(/\.([a-zA-Z][\w-]*)/g)].map((match) => match[1] ?? '')
}

/** The class names written in `className=…` and `className: …`; what a condition compares with is not one. */
function classesIn(text: string): Set<string> {
  const found = new Set<string>()
  for (const match of text.matchAll(/className\s*[=:]\s*/g)) {
    const value = expression(text, match.index + match[0].length).replace(/[!=]==\s*'[^']*'/g, '')
    for (const literal of value.matchAll(/"([^"\n]*)"|'([^'\n]*)'|`([^`]*)`/g)) {
      const words = literal[1] ?? literal[2] ?? literal[3] ?? ''
      for (const [name] of words.replace(/\$\{[^}]*\}/g, quoted).matchAll(/[a-zA-Z][\w-]*/g)) found.add(name)
    }
  }
  return found
}

/** The strings inside a `${…}`. */
function quoted(inside: string): string {
  return [...inside.matchAll(/'([^']*)'/g)].map((match) => match[1]).join(' ')
}

/** From `start`, a quoted string or an expression in braces, whole. */
function expression(text: string, start: number): string {
  const open = text[start] ?? ''
  if (open !== '{') return text.slice(start, text.indexOf(open, start + 1) + 1)
  let depth = 0
  for (let at = start; at < text.length; at += 1) {
    if (text[at] === '{') depth += 1
    if (text[at] === '}') depth -= 1
    if (depth === 0) return text.slice(start, at + 1)
  }
  return text.slice(start)
}

/** The rooms whose code gives an element this class. */
function usersOf(name: string): string[] {
  return [...new Set(code.filter((file) => file.classes.has(name)).map((file) => file.room))].sort()
}

describe('the style sheets', () => {
  it('give a class that one panel uses a home beside that panel', () => {
    const wrong = sheets.flatMap((sheet) =>
      sheet.rules.flatMap((rule) => {
        const users = usersOf(owner(rule) ?? '')
        const [only] = users
        return users.length === 1 && only?.startsWith('panels/') && only !== sheet.room
          ? [`${rule} of ${sheet.path} belongs in ${only}`]
          : []
      }),
    )
    expect(wrong).toEqual([])
  })

  it('of a panel style its own classes and no one else’s', () => {
    const wrong = sheets
      .filter((sheet) => sheet.room.startsWith('panels/'))
      .flatMap((sheet) =>
        sheet.rules
          .filter((rule) => usersOf(owner(rule) ?? '').some((user) => user !== sheet.room) || !owner(rule))
          .map((rule) => `${rule} of ${sheet.path}`),
      )
    expect(wrong).toEqual([])
  })

  it('are imported by every file of the panel that uses their classes', () => {
    const wrong = sheets
      .filter((sheet) => sheet.room.startsWith('panels/'))
      .flatMap((sheet) => {
        const owned = new Set(sheet.rules.map((rule) => owner(rule) ?? ''))
        const name = sheet.path.split('/').at(-1)
        return code
          .filter((file) => file.room === sheet.room && [...owned].some((one) => file.classes.has(one)))
          .filter((file) => !file.text.includes(`import './${name}'`))
          .map((file) => `${file.path} does not import ${name}`)
      })
    expect(wrong).toEqual([])
  })

  it('have no class that nothing uses', () => {
    const words = new Set(
      code.flatMap((file) =>
        [...file.text.matchAll(/"[^"\n]*"|'[^'\n]*'|`[^`]*`/g)].flatMap(([literal]) =>
          [...literal.matchAll(/[a-zA-Z][\w-]*/g)].map(([word]) => word),
        ),
      ),
    )
    const wrong = sheets.flatMap((sheet) =>
      sheet.rules
        .flatMap(allClasses)
        .filter((name) => !words.has(name))
        .map((name) => `.${name} of ${sheet.path}`),
    )
    expect(wrong).toEqual([])
  })

  it('style every class that a page names, but for those that code looks an element up by', () => {
    const styled = new Set(sheets.flatMap((sheet) => sheet.rules.flatMap(allClasses)))
    for (const file of code)
      for (const [, name = ''] of file.text.matchAll(/'\.([a-z][\w-]*)'/g)) styled.add(name)
    const wrong = code.flatMap((file) =>
      [...file.classes].filter((name) => !styled.has(name)).map((name) => `${name} in ${file.path}`),
    )
    expect(wrong).toEqual([])
  })
})

describe('lengths in the style sheets', () => {
  const tokens = readFileSync(join(SRC, 'ui/tokens.css'), 'utf8')
  const scaled =
    /^\s*(font|font-size|(?:row-|column-)?gap|padding(?:-[a-z-]+)?|margin(?:-[a-z-]+)?|border(?:-[a-z-]+)?-radius):([^;]*);(.*)$/

  it('of text, spaces and corners are tokens, unless a comment beside them says why not', () => {
    const wrong = sheets
      .filter((sheet) => sheet.path !== 'ui/tokens.css')
      .flatMap((sheet) =>
        sheet.text.split('\n').flatMap((line, number) => {
          const [, property, value = '', rest = ''] = scaled.exec(line) ?? []
          const stray = /(?<![\w-])-?(?:\d*\.)?\d+(?:px|rem|pt)\b/.test(value) && !rest.includes('/*')
          return property && stray ? [`${sheet.path}:${number + 1} ${line.trim()}`] : []
        }),
      )
    expect(wrong).toEqual([])
  })

  it('name tokens that exist, and every token is used', () => {
    const defined = new Set([...tokens.matchAll(/^\s*(--[\w-]+):/gm)].map((match) => match[1] ?? ''))
    const everything = files.map((file) => file.text).join('\n')
    const used = new Set([...everything.matchAll(/var\((--[\w-]+)\)/g)].map((match) => match[1] ?? ''))
    for (const match of everything.matchAll(/colour\('([\w-]+)'\)/g)) used.add(`--${match[1]}`)
    expect([...used].filter((name) => !defined.has(name) && !name.startsWith('--radix'))).toEqual([])
    // The steps of causal importance are read by number.
    expect([...defined].filter((name) => !used.has(name) && !/^--ci-\d$/.test(name))).toEqual([])
  })

  it('make scales that rise', () => {
    for (const scale of ['text', 'space', 'radius']) {
      const steps = [...tokens.matchAll(new RegExp(`--${scale}-[\\w]+: ([\\d.]+)px`, 'g'))].map((match) =>
        Number(match[1]),
      )
      expect(steps.length).toBeGreaterThan(3)
      expect(steps).toEqual([...new Set(steps)].sort((a, b) => a - b))
    }
  })
})
