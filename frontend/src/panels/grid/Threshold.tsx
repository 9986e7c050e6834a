import { useEffect, useState } from 'react'
import { Button, Slider } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import { Popover } from '@/ui/surfaces'
import './grid.css'

/** The CI below which cells are blank. */
export function Threshold({
  value,
  fallback,
  onChange,
}: {
  value: number
  fallback: number
  onChange: (t: number | undefined) => void
}) {
  const [mine, setMine] = useState(value)
  useEffect(() => setMine(value), [value])
  return (
    <Popover
      label="Threshold"
      trigger={
        <Button size="small">
          threshold <span className="num">{value}</span> <Icon name="down" />
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
      </div>
    </Popover>
  )
}
