import { useLayoutEffect, useRef } from 'react'
import { unit } from '@/api/words'
import { level, usePalette } from './palette'

interface Props {
  values: Float32Array
  rows: number
  /** Where each column begins, and last where they all end. */
  lefts: number[]
  height: number
  show: 'max' | 'count'
  scale: 'linear' | 'log'
  top: number
}

const FONT = '500 10.5px "JetBrains Mono Variable", ui-monospace, monospace'

/** All cells of one block. Each drawing leaves a `unweave:ci-grid` measure for whoever times the page. */
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
    const narrow = (lefts[1] ?? 0) < 30
    const gap = narrow ? 1 : 2
    const round = !narrow && rows * columns < 4000
    for (let r = 0; r < rows; r += 1) {
      for (let c = 0; c < columns; c += 1) {
        const value = values[r * columns + c] ?? 0
        const at = level(value, scale, top)
        const left = lefts[c] ?? 0
        pen.fillStyle = palette.ramp[at] ?? ''
        const [x, y, w, h] = [left + gap / 2, r * height + 1, (lefts[c + 1] ?? 0) - left - gap, height - 2]
        if (round) {
          pen.beginPath()
          pen.roundRect(x, y, w, h, 3)
          pen.fill()
        } else pen.fillRect(x, y, w, h)
        if (!narrow && value > 0) {
          pen.fillStyle = palette.ink[at] ?? ''
          pen.fillText(show === 'max' ? unit(value) : String(value), x + w / 2, y + h / 2 + 0.5)
        }
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
