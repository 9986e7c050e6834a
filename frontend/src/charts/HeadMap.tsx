/**
 * One attention pattern: one row per query, one column per key. Cells on a canvas, with a hidden table of the same values.
 * Marked positions are named at the edges, and the key they attend to most is shown while nothing is hovered.
 */
import { type KeyboardEvent, type MouseEvent, useLayoutEffect, useRef, useState } from 'react'
import { probability, signed, visible } from '@/api/words'
import { useThemeName } from './palette'

export interface Mark {
  name: string
  position: number
}

export interface HeadProps {
  /** Row q holds keys 0 … q. */
  values: number[][]
  tokens: string[]
  /** A difference is drawn in two colours around 0. */
  difference: boolean
  label: string
  /** Its maximal side in pixels. */
  size: number
  marks?: Mark[]
  /** Small maps have no axes, no readout and no keyboard control. */
  plain?: boolean
}

/** The shade of a value: its square root, so that a weight of 1 in 64 is visibly different from 0. */
export const shade = (value: number) => Math.sqrt(Math.min(1, Math.abs(value)))

export function HeadMap(props: HeadProps) {
  const { values, tokens, difference, size, marks = [] } = props
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
    const place = (along: number, side: number) =>
      Math.min(n - 1, Math.max(0, Math.floor((along / side) * n)))
    setAt({ q: place(event.clientY - box.top, box.height), k: place(event.clientX - box.left, box.width) })
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
  const format = (value: number) => (difference ? signed(value, 3) : probability(value))
  const value = at && at.k <= at.q ? values[at.q]?.[at.k] : undefined
  const words = lookMost(values, marks)
  const percent = (place: number) => `${(100 * place) / n}%`
  return (
    <div className={`head-map ${marks.length > 0 ? 'marked' : ''}`}>
      <div
        role="application"
        aria-roledescription="heatmap"
        aria-label={`${props.label}${words && `: ${words}`}. Arrow keys move over queries and keys.`}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the heatmap takes arrow keys
        tabIndex={0}
        className="head-body"
        style={{ maxWidth: size }}
        onMouseMove={locate}
        onMouseLeave={() => setAt(null)}
        onKeyDown={key}
      >
        <canvas ref={canvas} />
        {at && (
          <span
            className="ring over"
            style={{ left: percent(at.k), top: percent(at.q), width: percent(1), height: percent(1) }}
          />
        )}
        {together(marks, n).map(({ name, position }) => (
          <span key={name} aria-hidden="true">
            <span className="head-mark query" style={{ top: percent(position + 0.5) }}>
              {name}
            </span>
            <span className="head-mark key" style={{ left: percent(position + 0.5) }}>
              {name}
            </span>
          </span>
        ))}
      </div>
      <p className="small soft head-readout" aria-live="polite">
        {at && value !== undefined ? (
          <>
            <b className="mono">{token(at.q)}</b> ({at.q}) attends to <b className="mono">{token(at.k)}</b> (
            {at.k}): <span className="num">{format(value)}</span>
          </>
        ) : (
          words || 'Rows are queries, columns are keys. Hover a cell, or use the arrow keys.'
        )}
      </p>
      <div className="hidden-visually">
        <table>
          <caption>{props.label}: for each token, the three it attends to most.</caption>
          <thead>
            <tr>
              <th scope="col">Token</th>
              <th scope="col">attends to</th>
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
                    .map((k) => `${k} ${token(k)} ${format(row[k] ?? 0)}`)
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

/** The key each marked position attends to most, by name where that is marked too. */
function lookMost(values: number[][], marks: Mark[]): string {
  return marks
    .flatMap(({ name, position }) => {
      const row = values[position]
      const [key = 0] = row ? most(row) : []
      const to = marks.find((mark) => mark.position === key)?.name ?? `position ${key}`
      return row ? [`${name} attends most to ${to}, ${(row[key] ?? 0).toFixed(2)}`] : []
    })
    .join('; ')
}

/** Marks in order; those whose names would overlap are merged. */
function together(marks: Mark[], n: number): Mark[] {
  const list: Mark[] = []
  for (const mark of [...marks].sort((a, b) => a.position - b.position)) {
    const last = list.at(-1)
    if (last && mark.position - last.position < n / 16)
      list[list.length - 1] = { ...last, name: `${last.name} ${mark.name}` }
    else list.push(mark)
  }
  return list
}

function most(row: number[]): number[] {
  return row
    .map((value, k) => ({ k, size: Math.abs(value) }))
    .sort((a, b) => b.size - a.size)
    .slice(0, 3)
    .map(({ k }) => k)
}

/** The legend of the shades. */
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
