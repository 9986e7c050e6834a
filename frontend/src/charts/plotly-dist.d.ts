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
    toImage: (
      figure: PlotlyFigure,
      options: { format: 'svg' | 'png'; width: number; height: number },
    ) => Promise<string>
  }
  export default Plotly
}
