/**
 * Tokens × sites: the heatmap of causal importance, one block a prompt, all on the same rows. Cells are drawn on a
 * canvas (a grid of 210 × 64 has to appear within 100 ms); heads are real buttons, and a table behind says the same.
 */
import { type KeyboardEvent, type MouseEvent, useDeferredValue, useMemo, useState } from 'react'
import type { Token } from '@/api/types'
import { siteTail, unit, visible } from '@/api/words'
import { CellCanvas } from './CellCanvas'
import { GridTable } from './GridTable'

export interface Row {
  id: string
  kind: 'layer' | 'site'
  layer: number | null
  open: boolean
  sites: string[]
}

export interface Block {
  name: string
  tokens: Token[]
  /** [rows][positions] */
  values: Float32Array
  stale: boolean
  message?: string
}

export interface Place {
  block: number
  row: string | null
  column: number | null
}

export interface CIGridProps {
  rows: Row[]
  blocks: Block[]
  show: 'max' | 'count'
  scale: 'linear' | 'log'
  top: number
  selected: Place
  onSelect: (place: Place) => void
  onFold: (layer: number) => void
  /** What to do here, said while nothing is chosen. */
  hint: string
}

export const ROW = 21

/** Widths of a block's columns: as wide as their tokens while the prompts are short, slim and equal when they are long. */
function columnWidths(blocks: Block[]): number[][] {
  const columns = blocks.reduce((sum, block) => sum + block.tokens.length, 0)
  const fixed = columns > 48 ? 18 : columns > 26 ? 26 : null
  const fit = (token: Token) => Math.min(150, Math.max(40, visible(token.piece).length * 7.3 + 8))
  return blocks.map((block) => block.tokens.map((token) => fixed ?? Math.round(fit(token))))
}

export const rowName = (row: Row) =>
  row.kind === 'layer' ? row.id : row.layer === null ? row.id : siteTail(row.id)

export function CIGrid(props: CIGridProps) {
  const { rows, blocks, selected } = props
  const widths = useMemo(() => columnWidths(blocks), [blocks])
  const slim = (widths[0]?.[0] ?? 99) < 36
  const [hover, setHover] = useState<Place | null>(null)
  const place = hover ?? selected
  const deferred = useDeferredValue(blocks)
  const toggleRow = (id: string) => props.onSelect({ ...selected, row: selected.row === id ? null : id })
  const toggleColumn = (block: number, column: number) =>
    props.onSelect({
      block,
      row: selected.row,
      column: selected.block === block && selected.column === column ? null : column,
    })

  return (
    <div className={`cigrid ${slim ? 'slim' : ''}`}>
      <div className="cigrid-scroll">
        <div
          className="cigrid-inner"
          style={{ gridTemplateColumns: `max-content repeat(${blocks.length}, max-content)` }}
        >
          <div className="cigrid-corner" />
          {blocks.map((block, b) => (
            <div key={b} className="cigrid-heads">
              {blocks.length > 1 && <div className="cigrid-name">{block.name}</div>}
              <div className="cigrid-columns">
                {block.tokens.map((token, c) => (
                  <button
                    type="button"
                    key={c}
                    className="cigrid-column"
                    style={{ width: widths[b]?.[c] }}
                    aria-pressed={selected.block === b && selected.column === c}
                    onClick={() => toggleColumn(b, c)}
                    onFocus={() => setHover({ block: b, row: null, column: c })}
                    onBlur={() => setHover(null)}
                    onMouseEnter={() => setHover({ block: b, row: null, column: c })}
                    onMouseLeave={() => setHover(null)}
                  >
                    <span className="hidden-visually">{block.name}, position </span>
                    <small>{c}</small>
                    <span className="cigrid-token">{visible(token.piece)}</span>
                    <span className="hidden-visually">, id {token.id}</span>
                  </button>
                ))}
              </div>
            </div>
          ))}
          <div className="cigrid-rows">
            {rows.map((row) => (
              <div key={row.id} className={`cigrid-row ${row.kind}`} style={{ height: ROW }}>
                {row.kind === 'layer' && (
                  <button
                    type="button"
                    className="fold"
                    aria-expanded={row.open}
                    aria-label={`${row.open ? 'Fold' : 'Unfold'} layer ${row.layer}`}
                    onClick={() => row.layer !== null && props.onFold(row.layer)}
                  >
                    {row.open ? '▾' : '▸'}
                  </button>
                )}
                <button
                  type="button"
                  className="cigrid-rowname"
                  aria-pressed={selected.row === row.id}
                  aria-label={
                    row.kind === 'layer'
                      ? `L${row.layer}, the whole layer`
                      : row.layer === null
                        ? row.id
                        : `L${row.layer} ${rowName(row)}`
                  }
                  onClick={() => toggleRow(row.id)}
                >
                  {rowName(row)}
                </button>
              </div>
            ))}
          </div>
          {blocks.map((block, b) => (
            <Body
              key={b}
              {...props}
              block={block}
              index={b}
              widths={widths[b] ?? []}
              hover={hover}
              onHover={setHover}
            />
          ))}
        </div>
      </div>
      <Readout {...props} place={place} chosen={hover === null} />
      {deferred.map((block, b) => (
        <GridTable key={b} rows={rows} block={block} show={props.show} />
      ))}
    </div>
  )
}

interface BodyProps extends CIGridProps {
  block: Block
  index: number
  widths: number[]
  hover: Place | null
  onHover: (place: Place | null) => void
}

function Body({ block, index, widths, rows, selected, hover, ...props }: BodyProps) {
  const columns = block.tokens.length
  const lefts = useMemo(() => leftEdges(widths), [widths])
  const total = lefts[columns] ?? 0
  const span = (column: number) => ({ left: lefts[column], width: widths[column] })
  const locate = (event: MouseEvent<HTMLElement>): Place => {
    const box = event.currentTarget.getBoundingClientRect()
    const row = rows[Math.floor((event.clientY - box.top) / ROW)]
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
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key]
    if (!move) return
    event.preventDefault()
    const here = selected.block === index ? selected : { row: null, column: null }
    const at = rows.findIndex((row) => row.id === here.row)
    const row = rows[Math.min(Math.max(at < 0 ? 0 : at + (move[0] ?? 0), 0), rows.length - 1)]
    const column = here.column === null ? 0 : here.column + (move[1] ?? 0)
    props.onSelect({ block: index, row: row?.id ?? null, column: Math.min(Math.max(column, 0), columns - 1) })
  }
  const mine = selected.block === index
  const chosenRow = rows.findIndex((row) => row.id === selected.row)
  const over = hover?.block === index ? hover : null
  const overRow = over?.row ? rows.findIndex((row) => row.id === over.row) : -1
  return (
    <div
      className={`cigrid-body ${block.stale ? 'stale' : ''}`}
      role="application"
      aria-roledescription="heatmap"
      aria-label={`Causal importance, ${block.name}. Arrow keys move the selection.`}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: the heatmap takes arrow keys
      tabIndex={0}
      style={{ width: total, height: rows.length * ROW }}
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
        height={ROW}
        show={props.show}
        scale={props.scale}
        top={props.top}
      />
      {chosenRow >= 0 && <span className="ring row" style={{ top: chosenRow * ROW, height: ROW }} />}
      {mine && selected.column !== null && <span className="ring column" style={span(selected.column)} />}
      {mine && selected.column !== null && chosenRow >= 0 && (
        <span className="ring cell" style={{ ...span(selected.column), top: chosenRow * ROW, height: ROW }} />
      )}
      {over && overRow >= 0 && over.column !== null && (
        <span className="ring over" style={{ ...span(over.column), top: overRow * ROW, height: ROW }} />
      )}
      {block.message && <p className="cigrid-message">{block.message}</p>}
    </div>
  )
}

/** Where each column begins, and last where they all end. */
function leftEdges(widths: number[]): number[] {
  const edges = [0]
  for (const width of widths) edges.push((edges.at(-1) ?? 0) + width)
  return edges
}

/** The place looked at, in words: what hovering shows, focusing and selecting show too. */
function Readout({
  rows,
  blocks,
  show,
  place,
  chosen,
  hint,
}: CIGridProps & { place: Place; chosen: boolean }) {
  const block = blocks[place.block]
  const row = rows.find((one) => one.id === place.row)
  const token = place.column === null ? undefined : block?.tokens[place.column]
  const r = row ? rows.indexOf(row) : -1
  const value =
    block && r >= 0 && place.column !== null
      ? block.values[r * block.tokens.length + place.column]
      : undefined
  const name =
    row && (row.kind === 'layer' ? row.id : row.layer === null ? row.id : `L${row.layer} ${rowName(row)}`)
  return (
    <div className="cigrid-readout">
      {!row && !token ? (
        <span>{hint}</span>
      ) : (
        <>
          {chosen && <span className="badge accent">selected</span>}
          {name && <b>{name}</b>}
          {token && (
            <span>
              <b>{visible(token.piece)}</b> position {place.column}, id {token.id}
            </span>
          )}
          {value !== undefined && (
            <span>
              {show === 'max'
                ? value > 0
                  ? `max CI ${unit(value)}`
                  : 'below the threshold'
                : `${value} above the threshold`}
            </span>
          )}
        </>
      )}
    </div>
  )
}
