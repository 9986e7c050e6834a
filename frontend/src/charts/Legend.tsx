import { SHOW_WORDS, type Show } from './grid'
import { LOG_FLOOR, usePalette } from './palette'

/** The legend of a heatmap: the colour scale with its ends. */
export function Legend(props: { show: Show; scale: 'linear' | 'log'; top: number; threshold: number }) {
  const { gradient } = usePalette()
  const low =
    props.scale === 'log'
      ? props.show === 'max'
        ? '1e-3'
        : String(Number((props.top * LOG_FLOOR).toPrecision(1)))
      : '0'
  return (
    <span className="legend">
      <span>{SHOW_WORDS[props.show].legend}</span>
      <span className="num">{low}</span>
      <span className="ramp" style={{ background: gradient }} aria-hidden="true" />
      <span className="num">{Number(props.top.toPrecision(2))}</span>
      {props.scale === 'log' && <span>log</span>}
      {props.threshold > 0 && <span>· from CI {props.threshold}</span>}
    </span>
  )
}
