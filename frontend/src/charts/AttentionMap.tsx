import { useLayoutEffect, useRef, useState } from 'react'
import { visible } from '@/api/words'
import { level, usePalette } from './palette'

const CELL = 6

/** Attention probabilities of one layer, queries downwards, keys to the right; marked positions are named at the edges. */
export function AttentionMap(props: {
  rows: number[][]
  pieces: string[]
  marks: { name: string; position: number }[]
  label: string
}) {
  const { rows, pieces, marks } = props
  const size = rows.length * CELL
  const canvas = useRef<HTMLCanvasElement>(null)
  const [at, setAt] = useState<[number, number] | null>(null)
  const { ramp } = usePalette()
  useLayoutEffect(() => {
    const pen = canvas.current?.getContext('2d')
    if (!pen) return
    pen.fillStyle = ramp[0] ?? '#fff'
    pen.fillRect(0, 0, size, size)
    rows.forEach((row, query) => {
      row.forEach((value, key) => {
        if (value < 0.004) return
        pen.fillStyle = ramp[level(value, 'linear')] ?? '#000'
        pen.fillRect(key * CELL, query * CELL, CELL, CELL)
      })
    })
  }, [rows, size, ramp])
  // Names that would lie on each other stand together.
  const named = [...marks]
    .sort((a, b) => a.position - b.position)
    .reduce<{ name: string; position: number }[]>((list, mark) => {
      const last = list.at(-1)
      if (last && mark.position - last.position < 4)
        list[list.length - 1] = { ...last, name: `${last.name} ${mark.name}` }
      else list.push(mark)
      return list
    }, [])
  const strongest = marks.flatMap(({ name, position }) => {
    const row = rows[position]
    if (!row) return []
    const key = row.indexOf(Math.max(...row))
    const mark = marks.find((one) => one.position === key)
    return [{ name, key, to: mark?.name ?? `position ${key}`, value: row[key] ?? 0 }]
  })
  const words = strongest
    .map(({ name, to, value }) => `${name} looks most at ${to}, ${value.toFixed(2)}`)
    .join('; ')
  const told =
    at && rows[at[0]]?.[at[1]] !== undefined
      ? `from ${at[0]} ${visible(pieces[at[0]] ?? '')} to ${at[1]} ${visible(pieces[at[1]] ?? '')}: ${rows[at[0]]?.[at[1]]?.toFixed(3)}`
      : words
  return (
    <figure className="attention-map">
      <figcaption>{props.label}</figcaption>
      <div className="attention-frame" style={{ maxWidth: size + 44 }}>
        {named.map(({ name, position }) => (
          <span
            key={name}
            className="attention-row"
            style={{ top: `calc((100% - 20px) * ${(position + 0.5) / rows.length})` }}
            aria-hidden="true"
          >
            {name}
          </span>
        ))}
        <canvas
          ref={canvas}
          width={size}
          height={size}
          role="img"
          aria-label={`${props.label}: ${words}`}
          onMouseMove={(event) => {
            const box = event.currentTarget.getBoundingClientRect()
            const where = (v: number, length: number) => Math.floor((v / length) * rows.length)
            setAt([where(event.clientY - box.top, box.height), where(event.clientX - box.left, box.width)])
          }}
          onMouseLeave={() => setAt(null)}
        />
        {named.map(({ name, position }) => (
          <span
            key={name}
            className="attention-column"
            style={{ left: `calc(40px + (100% - 44px) * ${(position + 0.5) / rows.length})` }}
            aria-hidden="true"
          >
            {name}
          </span>
        ))}
      </div>
      <p className="small soft">{told}</p>
    </figure>
  )
}
