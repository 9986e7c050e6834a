declare module 'plotly.js-cartesian-dist-min' {
  export interface PlotlyFigure {
    data: Record<string, unknown>[]
    layout: Record<string, unknown>
  }
  const Plotly: {
    react: (
      element: HTMLElement,
      data: Record<string, unknown>[],
      layout: Record<string, unknown>,
      config: Record<string, unknown>,
    ) => Promise<void>
    purge: (element: HTMLElement) => void
  }
  export default Plotly
}
