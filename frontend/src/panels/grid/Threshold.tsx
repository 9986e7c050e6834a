import { useEffect, useState } from 'react'
import { Button, Seg, Slider } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Popover } from '@/ui/surfaces'
import './grid.css'

/** The CI below which cells are blank, and the colour scale. */
export function Threshold({
  value,
  fallback,
  onChange,
  scale,
  onScale,
}: {
  value: number
  fallback: number
  onChange: (t: number | undefined) => void
  scale: 'linear' | 'log'
  onScale: (scale: 'linear' | 'log') => void
}) {
  const [mine, setMine] = useState(value)
  useEffect(() => setMine(value), [value])
  return (
    <Popover
      label="Threshold and colours"
      trigger={
        <Button size="small">
          CI ≥ <span className="num">{value}</span> <Icon name="down" />
        </Button>
      }
    >
      <div className="threshold">
        <span className="field-label">Show importances from</span>
        <div className="threshold-line">
          <Slider
            label="Threshold"
            value={mine}
            step={0.01}
            onChange={setMine}
            onCommit={(t) => onChange(t === fallback ? undefined : t)}
          />
          <span className="num">{mine.toFixed(2)}</span>
        </div>
        <p className="small soft">
          Lower ones are left blank and out of counts and lists. This run counts a component as used from{' '}
          {fallback}.{' '}
          {value !== fallback && (
            <button type="button" className="link-btn" onClick={() => onChange(undefined)}>
              Back to {fallback}
            </button>
          )}
        </p>
        <div className="threshold-line">
          <span className="field-label">Colours</span>
          <Seg
            label="Colour scale"
            value={scale}
            options={[
              { value: 'linear', label: 'linear' },
              { value: 'log', label: 'log' },
            ]}
            onChange={onScale}
          />
        </div>
      </div>
    </Popover>
  )
}
