/** Figures as SVG text, for `ExportMenu`: an element that is drawn already, or a Plotly figure drawn anew. */
import type { FigureOf } from './Plot'

/** The style properties an SVG needs to look the same outside the page. */
const KEPT = [
  'fill',
  'fill-opacity',
  'stroke',
  'stroke-width',
  'stroke-opacity',
  'stroke-dasharray',
  'stroke-linecap',
  'stroke-linejoin',
  'opacity',
  'font-family',
  'font-size',
  'font-weight',
  'font-style',
  'text-anchor',
  'dominant-baseline',
  'visibility',
  'marker-end',
  'marker-start',
  'stop-color',
  'stop-opacity',
  'vector-effect',
]

/** An SVG element of the page as text: its computed styles become attributes, with the colours of the theme. */
export function svgOfElement(element: SVGSVGElement): string {
  const copy = element.cloneNode(true) as SVGSVGElement
  const originals = [element, ...element.querySelectorAll('*')]
  const copies = [copy, ...copy.querySelectorAll('*')]
  originals.forEach((original, i) => {
    const style = getComputedStyle(original)
    const twin = copies[i]
    if (!twin) return
    if (style.display === 'none') twin.setAttribute('display', 'none')
    for (const name of KEPT) {
      const value = style.getPropertyValue(name)
      if (value && value !== 'none' && value !== 'normal') twin.setAttribute(name, value)
      else if (value === 'none' && (name === 'fill' || name === 'stroke')) twin.setAttribute(name, 'none')
    }
    twin.removeAttribute('class')
    twin.removeAttribute('style')
  })
  const box = element.getBoundingClientRect()
  copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  copy.setAttribute('width', String(Math.round(box.width) || 640))
  copy.setAttribute('height', String(Math.round(box.height) || 320))
  return new XMLSerializer().serializeToString(copy)
}

/** A Plotly figure as SVG text, in the colours of the theme that is on. Loads Plotly if needed. */
export async function svgOfPlot(figure: FigureOf, width = 720, height = 360): Promise<string> {
  const { drawnSvg } = await import('./plotly')
  const style = getComputedStyle(document.documentElement)
  const { data, layout } = figure((name) => style.getPropertyValue(`--${name}`).trim())
  return drawnSvg({ data, layout }, width, height)
}

/** Text for inside an SVG. */
export const escaped = (text: string) =>
  text.replace(/[&<>"]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[sign] ?? '')
