import type { ReactNode } from 'react'
import { Popover } from './surfaces'

/** An explanation of a term: a small button that opens a few sentences. */
export function Hint({ about, children }: { about: string; children: ReactNode }) {
  return (
    <Popover
      label={about}
      trigger={
        <button type="button" className="hint-button" aria-label={`What is ${about}?`}>
          ?
        </button>
      }
    >
      <div className="hint-text">
        <p className="field-label">{about}</p>
        {children}
      </div>
    </Popover>
  )
}
