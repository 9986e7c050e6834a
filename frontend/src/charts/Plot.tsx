import { useEffect, useRef, useState } from 'react'
import { useThemeName } from './palette'

/** A figure in the colours of the current theme. */
export type FigureOf = (colour: (name: string) => string) => {
  data: Record<string, unknown>[]
  layout: Record<string, unknown>
}

/** A Plotly figure, loaded when it comes near the viewport. `label` describes it in words. */
export function Plot({ figure, label, height }: { figure: FigureOf; label: string; height: number }) {
  const ref = useRef<HTMLDivElement>(null)
  const theme = useThemeName()
  const [near, setNear] = useState(false)
  const [failed, setFailed] = useState(false)

  useEffect(() => {
    const element = ref.current
    if (!element) return
    const watcher = new IntersectionObserver(([entry]) => entry?.isIntersecting && setNear(true), {
      rootMargin: '200px',
    })
    watcher.observe(element)
    return () => watcher.disconnect()
  }, [])

  useEffect(() => {
    const element = ref.current
    if (!near || !element) return
    void theme
    let gone = false
    const style = getComputedStyle(document.documentElement)
    import('./plotly').then(
      ({ draw }) => {
        const colour = (name: string) => style.getPropertyValue(`--${name}`).trim()
        if (!gone) void draw(element, figure(colour))
      },
      () => setFailed(true),
    )
    return () => {
      gone = true
    }
  }, [near, figure, theme])

  return (
    <div role="img" aria-label={label} style={{ height }}>
      <div ref={ref} style={{ height: '100%' }} />
      {failed && <p className="soft">The figure could not be loaded. Reload the page to try again.</p>}
    </div>
  )
}

/** The layout that all figures share. */
export function baseLayout(colour: (name: string) => string): Record<string, unknown> {
  const axis = {
    gridcolor: colour('line'),
    zerolinecolor: colour('line'),
    linecolor: colour('line-strong'),
    tickfont: { size: 11, color: colour('soft') },
    automargin: true,
    separatethousands: true,
  }
  return {
    paper_bgcolor: 'rgba(0,0,0,0)',
    plot_bgcolor: 'rgba(0,0,0,0)',
    font: { family: colour('sans'), size: 12, color: colour('soft') },
    margin: { l: 52, r: 12, t: 10, b: 38 },
    xaxis: axis,
    yaxis: { ...axis, type: 'linear' },
    showlegend: false,
    hovermode: 'x unified',
    hoverlabel: { bgcolor: colour('raised'), bordercolor: colour('line'), font: { color: colour('ink') } },
  }
}
