/** Figures as files: a self-contained SVG (background, title, provenance, fonts), and a PNG of it. */
import type { Facts } from './download'

const [PAD, TITLE, FOOT] = [16, 26, 22]
const SVG = 'http://www.w3.org/2000/svg'

interface Frame {
  title: string
  facts: Facts
}

/** A figure on the background of the theme, with its title above and its provenance below. `figure` has a width and a height. */
export async function framed(figure: string, { title, facts }: Frame): Promise<string> {
  const parsed = new DOMParser().parseFromString(figure, 'image/svg+xml')
  const inner = parsed.documentElement
  if (inner.localName !== 'svg' || parsed.querySelector('parsererror'))
    throw new Error('This figure could not be rendered as SVG.')
  const width = Number.parseFloat(inner.getAttribute('width') ?? '640')
  const height = Number.parseFloat(inner.getAttribute('height') ?? '320')
  inner.setAttribute('x', String(PAD))
  inner.setAttribute('y', String(PAD + TITLE))
  const style = getComputedStyle(document.documentElement)
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim()
  const drawing = document.implementation.createDocument(SVG, 'svg')
  const root = drawing.documentElement
  const source = ['decomposition', 'model', 'artifact', 'unweave']
    .filter((name) => facts[name])
    .map((name) => `${name} ${String(facts[name]).slice(0, name === 'artifact' ? 12 : 60)}`)
    .join(' · ')
  const widest = Math.max(width, title.length * 7.6, source.length * 5.7)
  const full = { width: Math.ceil(widest) + 2 * PAD, height: height + 2 * PAD + TITLE + FOOT }
  root.setAttribute('width', String(full.width))
  root.setAttribute('height', String(full.height))
  root.setAttribute('viewBox', `0 0 ${full.width} ${full.height}`)
  const add = (name: string, attributes: Record<string, string | number>, text?: string) => {
    const element = drawing.createElementNS(SVG, name)
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value))
    if (text !== undefined) element.textContent = text
    root.append(element)
    return element
  }
  add('title', {}, title)
  const fonts = add('style', {})
  add('rect', { width: '100%', height: '100%', fill: colour('panel') })
  const words = { x: PAD, 'font-family': colour('sans') }
  add('text', { ...words, y: PAD + 12, 'font-size': 14, 'font-weight': 600, fill: colour('ink') }, title)
  root.append(drawing.importNode(inner, true))
  add('text', { ...words, y: full.height - PAD + 2, 'font-size': 10.5, fill: colour('faint') }, source)
  fonts.textContent = await fontRules(root)
  return new XMLSerializer().serializeToString(drawing)
}

/** The page's fonts as rules with embedded data, for the families and characters that an SVG uses. */
async function fontRules(root: Element): Promise<string> {
  const text = root.textContent ?? ''
  const used = new XMLSerializer().serializeToString(root)
  const faces = [...document.styleSheets]
    .flatMap((sheet) => {
      try {
        return [...sheet.cssRules]
      } catch {
        return [] // a style sheet of an extension, which a page may not read
      }
    })
    .filter((rule) => rule instanceof CSSFontFaceRule)
    .filter(({ style }) => used.includes(style.getPropertyValue('font-family').replaceAll(/["']/g, '')))
    .filter(({ style }) => covers(style.getPropertyValue('unicode-range'), text))
  const rules = await Promise.all(
    faces.map(async ({ style, parentStyleSheet }) => {
      const source = /url\(["']?([^"')]+)["']?\)/.exec(style.getPropertyValue('src'))?.[1]
      if (!source) return ''
      const address = new URL(source, parentStyleSheet?.href ?? document.baseURI)
      const answer = await fetch(address).catch(() => null)
      if (!answer?.ok) return '' // the system's font is used instead
      const data = await dataUrl(await answer.blob())
      return `@font-face{font-family:${style.getPropertyValue('font-family')};font-weight:100 900;src:url(${data}) format("woff2");unicode-range:${style.getPropertyValue('unicode-range')}}`
    }),
  )
  return rules.join('')
}

/** Whether a `unicode-range` contains a character of the text. */
export function covers(ranges: string, text: string): boolean {
  if (!ranges) return true
  const spans = ranges.split(',').map((range) => {
    const [low = '', high = low] = range.trim().replace(/^U\+/i, '').split('-')
    return [
      Number.parseInt(low.replaceAll('?', '0'), 16),
      Number.parseInt(high.replaceAll('?', 'F'), 16),
    ] as const
  })
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0
    if (spans.some(([low, high]) => code >= low && code <= high)) return true
  }
  return false
}

function dataUrl(blob: Blob): Promise<string> {
  return new Promise((done, failed) => {
    const reader = new FileReader()
    reader.onload = () => done(String(reader.result))
    reader.onerror = () => failed(new Error('A font could not be read.'))
    reader.readAsDataURL(blob)
  })
}

/** An SVG as PNG, twice as large. */
export async function rasterised(svg: string, scale = 2): Promise<Blob> {
  const address = URL.createObjectURL(new Blob([svg], { type: 'image/svg+xml' }))
  try {
    const image = new Image()
    image.src = address
    await image.decode()
    const canvas = document.createElement('canvas')
    canvas.width = Math.ceil(image.width * scale)
    canvas.height = Math.ceil(image.height * scale)
    const pen = canvas.getContext('2d')
    if (!pen) throw new Error('This browser has no canvas for the PNG; the SVG can still be saved.')
    pen.scale(scale, scale)
    pen.drawImage(image, 0, 0)
    const png = await new Promise<Blob | null>((done) => canvas.toBlob(done, 'image/png'))
    if (!png)
      throw new Error('The figure is too large for a PNG of this browser; the SVG can still be saved.')
    return png
  } finally {
    URL.revokeObjectURL(address)
  }
}
