/** One block of the heatmap: cells on a canvas, with pointer and keyboard control. */
import { type KeyboardEvent, type MouseEvent, useMemo } from 'react'
import { CellCanvas } from './CellCanvas'
import { type Block, type CIGridProps, type Place, rowHeight } from './grid'

interface BodyProps extends CIGridProps {
  block: Block
  index: number
  widths: number[]
  hover: Place | null
  onHover: (place: Place | null) => void
}

export function GridBody({ block, index, widths, rows, selected, hover, ...props }: BodyProps) {
  const columns = block.tokens.length
  const height = rowHeight(rows.length)
  const lefts = useMemo(() => leftEdges(widths), [widths])
  const total = lefts[columns] ?? 0
  const span = (column: number) => ({ left: lefts[column], width: widths[column] })
  const locate = (event: MouseEvent<HTMLElement>): Place => {
    const box = event.currentTarget.getBoundingClientRect()
    const row = rows[Math.floor((event.clientY - box.top) / height)]
    const x = event.clientX - box.left
    const column = lefts.findIndex((_, c) => x < (lefts[c + 1] ?? Number.POSITIVE_INFINITY))
    return { block: index, row: row?.id ?? null, column: Math.min(Math.max(column, 0), columns - 1) }
  }
  const click = (event: MouseEvent<HTMLElement>) => {
    const at = locate(event)
    const again = selected.block === index && selected.row === at.row && selected.column === at.column
    props.onSelect(again ? { block: index, row: null, column: null } : at)
  }
  const key = (event: KeyboardEvent) => {
    const far = 1_000_000
    const move = {
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
      PageUp: [-7, 0],
      PageDown: [7, 0],
      Home: [0, -far],
      End: [0, far],
    }[event.key]
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return
    event.preventDefault()
    const here = selected.block === index ? selected : { row: null, column: null }
    const at = rows.findIndex((row) => row.id === here.row)
    const row = rows[Math.min(Math.max(at < 0 ? 0 : at + (move[0] ?? 0), 0), rows.length - 1)]
    const column =
      here.column === null ? Math.max(0, move[1] === far ? far : 0) : here.column + (move[1] ?? 0)
    props.onSelect({ block: index, row: row?.id ?? null, column: Math.min(Math.max(column, 0), columns - 1) })
  }
  const mine = selected.block === index
  const chosenRow = rows.findIndex((row) => row.id === selected.row)
  const over = hover?.block === index ? hover : null
  const overRow = over?.row ? rows.findIndex((row) => row.id === over.row) : -1
  return (
    <div
      className={`cigrid-body ${block.stale ? 'stale' : ''} ${block.muted ? 'muted' : ''}`}
      role="application"
      aria-roledescription="heatmap"
      aria-label={`Causal importance, ${block.name}. Arrow keys move the selection.`}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: the heatmap takes arrow keys
      tabIndex={0}
      style={{ width: total, height: rows.length * height }}
      onClick={click}
      onKeyDown={key}
      onMouseMove={(event) => {
        const at = locate(event)
        if (at.row !== hover?.row || at.column !== hover?.column || at.block !== hover?.block)
          props.onHover(at)
      }}
      onMouseLeave={() => props.onHover(null)}
    >
      <CellCanvas
        values={block.values}
        rows={rows.length}
        lefts={lefts}
        height={height}
        show={props.show}
        scale={props.scale}
        top={props.top}
      />
      {chosenRow >= 0 && <span className="ring row" style={{ top: chosenRow * height, height: height }} />}
      {mine && selected.column !== null && <span className="ring column" style={span(selected.column)} />}
      {mine && selected.column !== null && chosenRow >= 0 && (
        <span
          className="ring cell"
          style={{ ...span(selected.column), top: chosenRow * height, height: height }}
        />
      )}
      {over && overRow >= 0 && over.column !== null && (
        <span className="ring over" style={{ ...span(over.column), top: overRow * height, height: height }} />
      )}
      {block.message && <p className="cigrid-message">{block.message}</p>}
    </div>
  )
}

/** The left edge of each column, and the right edge of the last. */
function leftEdges(widths: number[]): number[] {
  const edges = [0]
  for (const width of widths) edges.push((edges.at(-1) ?? 0) + width)
  return edges
}
