import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { cleanup, fireEvent, render, screen } from '@testing-library/react'
import { useState } from 'react'
import { afterEach, expect, it } from 'vitest'
import type { Source } from '@/api/types'
import type { Config } from '@/state/newRun'
import { FactsFields } from './FactsFields'

afterEach(cleanup)

let config: Config

function Form() {
  const [own, setOwn] = useState<Config>({ data: { kind: 'facts', relations: [] } } as unknown as Config)
  config = own
  return <FactsFields source={{ kind: 'folder', path: 'm' } as Source} config={own} onConfig={setOwn} />
}

it('holds several relations, each with facts of its own, whichever is removed', () => {
  render(
    <QueryClientProvider client={new QueryClient()}>
      <Form />
    </QueryClientProvider>,
  )
  const type = (label: string, place: number, value: string) => {
    const field = screen.getAllByLabelText(new RegExp(`^${label}`))[place]
    if (field) fireEvent.change(field, { target: { value } })
  }
  type('Facts', 0, 'Tiger Woods => golf')
  fireEvent.click(screen.getByText('Add a relation'))
  type('Relation', 1, 'capitals')
  type('Facts', 1, 'France => Paris')
  expect(config.data).toMatchObject({
    relations: [
      { name: 'relation', facts: { 'Tiger Woods': ' golf' } },
      { name: 'capitals', facts: { France: ' Paris' } },
    ],
  })
  fireEvent.click(screen.getByLabelText('Remove the relation relation'))
  expect(config.data).toMatchObject({ relations: [{ name: 'capitals', facts: { France: ' Paris' } }] })
  expect(screen.getByDisplayValue('France => Paris')).toBeTruthy()
})
