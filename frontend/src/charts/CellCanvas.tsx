import { useLayoutEffect, useRef } from 'react'
import { cellText, type Show } from './grid'
import { level, usePalette } from './palette'

interface Props {
  values: Float32Array
  rows: number
  /** The left edge of each column, and the right edge of the last. */
  lefts: number[]
  height: number
  show: Show
  scale: 'linear' | 'log'
  top: number
}

const FONT = '500 10.5px "JetBrains Mono Variable", ui-monospace, monospace'

/** All cells of one block. Each drawing records a `unweave:ci-grid` performance measure. */
export function CellCanvas({ values, rows, lefts, height, show, scale, top }: Props) {
  const columns = lefts.length - 1
  const total = lefts[columns] ?? 0
  const ref = useRef<HTMLCanvasElement>(null)
  const palette = usePalette()
  useLayoutEffect(() => {
    const canvas = ref.current
    const pen = canvas?.getContext('2d')
    if (!canvas || !pen) return
    const started = performance.now()
    const ratio = window.devicePixelRatio || 1
    canvas.width = Math.ceil(total * ratio)
    canvas.height = Math.ceil(rows * height * ratio)
    pen.setTransform(ratio, 0, 0, ratio, 0, 0)
    pen.font = FONT
    pen.textAlign = 'center'
    pen.textBaseline = 'middle'
    const narrow = (lefts[1] ?? 0) < 25 || height < 16
    const gap = narrow ? 1 : 2
    const round = !narrow && rows * columns < 4000
    // Cells of one colour are filled together, because changing the colour is slow.
    const byLevel = new Map<number, number[]>()
    for (let i = 0; i < rows * columns; i += 1) {
      const at = level(values[i] ?? 0, scale, top)
      const there = byLevel.get(at)
      if (there) there.push(i)
      else byLevel.set(at, [i])
    }
    for (const [at, cells] of byLevel) {
      pen.fillStyle = palette.ramp[at] ?? ''
      for (const i of cells) {
        const c = i % columns
        const left = lefts[c] ?? 0
        const w = (lefts[c + 1] ?? 0) - left - gap
        const y = Math.floor(i / columns) * height + 1
        if (round) {
          pen.beginPath()
          pen.roundRect(left + gap / 2, y, w, height - 2, 3)
          pen.fill()
        } else pen.fillRect(left + gap / 2, y, w, height - 2)
      }
      if (narrow) continue
      pen.fillStyle = palette.ink[at] ?? ''
      for (const i of cells) {
        const value = values[i] ?? 0
        const c = i % columns
        const middle = ((lefts[c] ?? 0) + (lefts[c + 1] ?? 0)) / 2
        if (value > 0)
          pen.fillText(cellText(value, show), middle, (Math.floor(i / columns) + 0.5) * height + 0.5)
      }
    }
    performance.measure('unweave:ci-grid', {
      start: started,
      end: performance.now(),
      detail: { rows, columns },
    })
  }, [values, rows, columns, lefts, total, height, show, scale, top, palette])
  return <canvas ref={ref} style={{ width: total, height: rows * height }} />
}
