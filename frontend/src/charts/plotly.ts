/** The one file that knows Plotly. It is a megabyte, so it is imported only when something is drawn with it. */
import Plotly, { type PlotlyFigure } from 'plotly.js-cartesian-dist-min'

export type Figure = PlotlyFigure

export function draw(element: HTMLElement, figure: Figure) {
  return Plotly.react(element, figure.data, figure.layout, {
    displaylogo: false,
    responsive: true,
    displayModeBar: false,
  })
}

export const clear = (element: HTMLElement) => Plotly.purge(element)

/** A figure as SVG text, drawn out of sight. */
export async function drawnSvg(figure: Figure, width: number, height: number): Promise<string> {
  const url = await Plotly.toImage(figure, { format: 'svg', width, height })
  return decodeURIComponent(url.slice(url.indexOf(',') + 1))
}
