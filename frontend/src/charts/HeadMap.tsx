/** One attention pattern: a row a query, a column a key. Cells on a canvas; a table behind says the same in words. */
import { type KeyboardEvent, type MouseEvent, useLayoutEffect, useRef, useState } from 'react'
import { probability, signed, visible } from '@/api/words'
import { useThemeName } from './palette'

export interface HeadProps {
  /** Row q holds keys 0 … q. */
  values: number[][]
  tokens: string[]
  /** A difference is drawn in two colours around 0. */
  difference: boolean
  label: string
  size: number
  /** Small pictures have no axes, no reading and no keys. */
  plain?: boolean
}

/** How dark a value is drawn: by its root, so that a weight of 1 in 64 can still be told from none. */
export const shade = (value: number) => Math.sqrt(Math.min(1, Math.abs(value)))

export function HeadMap(props: HeadProps) {
  const { values, tokens, difference, size } = props
  const canvas = useRef<HTMLCanvasElement>(null)
  const theme = useThemeName()
  const [at, setAt] = useState<{ q: number; k: number } | null>(null)
  const n = Math.max(1, tokens.length)
  useLayoutEffect(() => {
    const element = canvas.current
    const pen = element?.getContext('2d')
    if (!element || !pen) return
    void theme
    const style = getComputedStyle(document.documentElement)
    const ratio = window.devicePixelRatio || 1
    element.width = size * ratio
    element.height = size * ratio
    pen.setTransform(ratio, 0, 0, ratio, 0, 0)
    const step = size / n
    const colour = (name: string) => style.getPropertyValue(name).trim()
    const [ground, ink, up, down] = ['--sunk', '--ink', '--up', '--down'].map(colour)
    values.forEach((row, q) => {
      row.forEach((value, k) => {
        const cell = [k * step, q * step, Math.ceil(step), Math.ceil(step)] as const
        pen.globalAlpha = 1
        pen.fillStyle = ground ?? ''
        pen.fillRect(...cell)
        pen.globalAlpha = shade(value)
        pen.fillStyle = (difference ? (value < 0 ? down : up) : ink) ?? ''
        pen.fillRect(...cell)
      })
    })
  }, [values, n, difference, size, theme])
  if (props.plain) return <canvas ref={canvas} style={{ width: size, height: size }} />

  const locate = (event: MouseEvent<HTMLElement>) => {
    const box = event.currentTarget.getBoundingClientRect()
    const place = (along: number) => Math.min(n - 1, Math.max(0, Math.floor((along / size) * n)))
    setAt({ q: place(event.clientY - box.top), k: place(event.clientX - box.left) })
  }
  const key = (event: KeyboardEvent) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key]
    if (!move) return
    event.preventDefault()
    const here = at ?? { q: n - 1, k: 0 }
    const q = Math.min(n - 1, Math.max(0, here.q + (move[0] ?? 0)))
    setAt({ q, k: Math.min(q, Math.max(0, here.k + (move[1] ?? 0))) })
  }
  const token = (i: number) => visible(tokens[i] ?? '')
  const say = (value: number) => (difference ? signed(value, 3) : probability(value))
  const value = at && at.k <= at.q ? values[at.q]?.[at.k] : undefined
  return (
    <div className="head-map">
      <div
        role="application"
        aria-roledescription="heatmap"
        aria-label={`${props.label}. Arrow keys move over queries and keys.`}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the heatmap takes arrow keys
        tabIndex={0}
        className="head-body"
        style={{ width: size, height: size }}
        onMouseMove={locate}
        onMouseLeave={() => setAt(null)}
        onKeyDown={key}
      >
        <canvas ref={canvas} style={{ width: size, height: size }} />
        {at && (
          <span
            className="ring over"
            style={{ left: (at.k * size) / n, top: (at.q * size) / n, width: size / n, height: size / n }}
          />
        )}
      </div>
      <p className="small soft head-say" aria-live="polite">
        {at && value !== undefined ? (
          <>
            <b className="mono">{token(at.q)}</b> ({at.q}) looks at <b className="mono">{token(at.k)}</b> (
            {at.k}): <span className="num">{say(value)}</span>
          </>
        ) : (
          'Rows look, columns are looked at. Point at a cell, or use the arrow keys.'
        )}
      </p>
      <div className="hidden-visually">
        <table>
          <caption>{props.label}: for each token, the three it looks at most.</caption>
          <thead>
            <tr>
              <th scope="col">Token</th>
              <th scope="col">looks at</th>
            </tr>
          </thead>
          <tbody>
            {values.map((row, q) => (
              <tr key={q}>
                <th scope="row">
                  {q} {token(q)}
                </th>
                <td>
                  {most(row)
                    .map((k) => `${k} ${token(k)} ${say(row[k] ?? 0)}`)
                    .join('; ')}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  )
}

function most(row: number[]): number[] {
  return row
    .map((value, k) => ({ k, size: Math.abs(value) }))
    .sort((a, b) => b.size - a.size)
    .slice(0, 3)
    .map(({ k }) => k)
}

/** What the shades mean. */
export function HeadLegend({ difference }: { difference: boolean }) {
  return (
    <span className="legend">
      <span>{difference ? 'change of attention' : 'attention'}</span>
      <span className="num">{difference ? '−1' : '0'}</span>
      <span className={`ramp ${difference ? 'head-difference' : 'head-ramp'}`} aria-hidden="true" />
      <span className="num">{difference ? '+1' : '1'}</span>
      <span>√ scale</span>
    </span>
  )
}
