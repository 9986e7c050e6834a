/**
 * Tokens × sites: the heatmap of causal importance, one block per prompt, all on the same rows. Cells are drawn on a
 * canvas (a grid of 210 × 64 has to appear within 100 ms); heads are real buttons, and a hidden table has the same values.
 */
import { type RefObject, useDeferredValue, useLayoutEffect, useMemo, useRef, useState } from 'react'
import type { Token } from '@/api/types'
import { visible } from '@/api/words'
import { GridBody } from './GridBody'
import { GridTable } from './GridTable'
import { type Block, type CIGridProps, cellWords, type Place, rowHeight, rowName } from './grid'

/** The width of row heads and a scroll bar, and of the gap between blocks. */
const [HEADS, BETWEEN] = [136, 18]

/**
 * Widths of a block's columns: as wide as their tokens where that fits, else narrow and equal, filling the available width.
 */
function columnWidths(blocks: Block[], room: number): number[][] {
  const columns = blocks.reduce((sum, block) => sum + block.tokens.length, 0)
  const heads = HEADS + BETWEEN * (blocks.length - 1)
  const fit = (token: Token) => Math.round(Math.min(150, Math.max(40, visible(token.piece).length * 7.3 + 8)))
  const wide = blocks.map((block) => block.tokens.map(fit))
  if (wide.flat().reduce((sum, width) => sum + width, heads) <= room) return wide
  const slim = Math.max(11, Math.min(36, Math.floor((room - heads) / Math.max(1, columns))))
  return blocks.map((block) => block.tokens.map(() => slim))
}

export function CIGrid(props: CIGridProps) {
  const { rows, blocks, selected } = props
  const scroll = useRef<HTMLDivElement>(null)
  const room = useWidth(scroll)
  const widths = useMemo(() => columnWidths(blocks, room), [blocks, room])
  const slim = widths.length > 0 && widths.flat().every((width) => width <= 36)
  const headHeight =
    34 +
    7 *
      Math.max(
        4,
        ...blocks.flatMap((block) => block.tokens.map((token) => Math.min(11, visible(token.piece).length))),
      )
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
      <div className="cigrid-scroll" ref={scroll}>
        {room > 0 && (
          <div
            className="cigrid-inner"
            style={{ gridTemplateColumns: `max-content repeat(${blocks.length}, max-content)` }}
          >
            <div className="cigrid-corner" />
            {blocks.map((block, b) => (
              <div key={b} className="cigrid-heads">
                {props.named && <div className="cigrid-name">{block.name}</div>}
                <div className="cigrid-columns">
                  {block.tokens.map((token, c) => (
                    <button
                      type="button"
                      key={c}
                      className="cigrid-column"
                      style={{ width: widths[b]?.[c], height: slim ? headHeight : undefined }}
                      aria-pressed={selected.block === b && selected.column === c}
                      onClick={() => toggleColumn(b, c)}
                      onFocus={() => setHover({ block: b, row: null, column: c })}
                      onBlur={() => setHover(null)}
                      onMouseEnter={() => setHover({ block: b, row: null, column: c })}
                      onMouseLeave={() => setHover(null)}
                    >
                      <span className="hidden-visually">{block.name}, position </span>
                      <small className={slim && c % 5 !== 0 ? 'unseen' : undefined}>{c}</small>
                      <span className="cigrid-token">{visible(token.piece)}</span>
                      <span className="hidden-visually">, id {token.id}</span>
                    </button>
                  ))}
                </div>
              </div>
            ))}
            <div className="cigrid-rows">
              {rows.map((row) => (
                <div
                  key={row.id}
                  className={`cigrid-row ${row.kind}`}
                  style={{ height: rowHeight(rows.length) }}
                >
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
              <GridBody
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
        )}
      </div>
      <Readout {...props} place={place} chosen={hover === null} />
      {deferred.map((block, b) => (
        <GridTable key={b} rows={rows} block={block} show={props.show} />
      ))}
    </div>
  )
}

/** The width of an element; 0 until it has been measured, which is before the first paint. */
function useWidth(ref: RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0)
  useLayoutEffect(() => {
    const element = ref.current
    if (!element) return
    const observer = new ResizeObserver(() => setWidth(element.clientWidth))
    setWidth(element.clientWidth)
    observer.observe(element)
    return () => observer.disconnect()
  }, [ref])
  return width
}

/** The hovered, focused or selected place in words. */
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
          {value !== undefined && <span>{cellWords(value, show)}</span>}
        </>
      )}
    </div>
  )
}
