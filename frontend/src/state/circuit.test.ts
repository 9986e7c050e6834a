import { describe, expect, it } from 'vitest'
import { encodeSupernode, freeName, notesOf, readCircuit, supernodesOf, withNote } from './circuit'
import { parseSearch } from './search'

const read = (text: string) => readCircuit(parseSearch(text))

describe('the address of a circuit', () => {
  it('is read back as it was written', () => {
    const { search, problems } = read(
      '?p=a b&t=0.3&at=2&tok= golf&vs= ball&e=90&pin=h.0.mlp:3@2&pin=h.1.mlp:4@5&sel=h.0.mlp:3@2&mlp=hide&sort=weight&dir=asc',
    )
    expect(problems).toEqual([])
    expect(search).toEqual({
      p: 'a b',
      t: 0.3,
      at: 2,
      tok: ' golf',
      vs: ' ball',
      e: 90,
      pin: ['h.0.mlp:3@2', 'h.1.mlp:4@5'],
      sel: 'h.0.mlp:3@2',
      mlp: 'hide',
      sort: 'weight',
      dir: 'asc',
    })
  })

  it('reports what is invalid, and leaves it out', () => {
    const { search, problems } = read('?p=~1.x&t=7&e=0&pin=nobody&sort=age')
    expect(problems).toHaveLength(5)
    expect(Object.values(search).every((value) => value === undefined)).toBe(true)
  })

  it('leaves defaults out', () => {
    expect(read('?at=-1&e=60').search).toMatchObject({ at: undefined, e: undefined })
  })

  it('holds groups of nodes and notes, and leaves out what is neither', () => {
    const nodes = ['h.0.mlp:3@2', 'h.1.mlp:4@5']
    const code = encodeSupernode({ name: 'who, what~', colour: 3, nodes })
    const { search, problems } = read(
      `?g=${encodeURIComponent(code)}&g=9~x~h.0.mlp:3@2&pin=~who  what&note=${encodeURIComponent('~who  what~the name')}&note=h.0.mlp:3@2~ab~c`,
    )
    expect(problems).toHaveLength(1)
    expect(supernodesOf(search)).toEqual([{ name: 'who  what', colour: 3, nodes }])
    expect([...notesOf(search)]).toEqual([
      ['~who  what', 'the name'],
      ['h.0.mlp:3@2', 'ab~c'],
    ])
    expect(withNote(search, 'h.0.mlp:3@2', ' ')).toEqual(['~who  what~the name'])
    expect(freeName('who  what', supernodesOf(search))).toBe('who  what 2')
  })
})
