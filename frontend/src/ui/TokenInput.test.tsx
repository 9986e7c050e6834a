import { cleanup, fireEvent, render, screen } from '@testing-library/react'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { TokenInput } from './TokenInput'

afterEach(cleanup)

function field(onChoose: (token: string) => void) {
  const input = {
    text: 'go',
    setText: () => undefined,
    offers: [
      { token: ' golf', note: '32.5 %' },
      { token: ' go', note: 'as typed' },
    ],
    problem: null,
  }
  render(<TokenInput label="Token" input={input} onChoose={onChoose} />)
  return screen.getByRole('combobox')
}

describe('the field for a token', () => {
  it('takes the suggestion that the arrow keys reach on Enter', () => {
    const chosen = vi.fn()
    const box = field(chosen)
    fireEvent.keyDown(box, { key: 'ArrowDown' })
    fireEvent.keyDown(box, { key: 'Enter' })
    expect(chosen).toHaveBeenCalledWith(' go')
  })

  it('leaves Enter to an input method while it composes', () => {
    const chosen = vi.fn()
    // fireEvent answers false where the default was prevented.
    expect(fireEvent.keyDown(field(chosen), { key: 'Enter', isComposing: true })).toBe(true)
    expect(chosen).not.toHaveBeenCalled()
  })
})
