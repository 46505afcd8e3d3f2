import { describe, expect, it } from 'vitest'
import { BadArguments, inOrder, readArguments } from '../../bench/arguments.js'
import { allRows } from '../../bench/registry.js'

const KNOWN = ['P1', 'P2', 'P10', 'turns']

describe('arguments of the bench', () => {
  it('mean every row where none is named, and then the run is a full one', () => {
    expect(readArguments([], KNOWN)).toEqual({ json: false, quick: false, ids: KNOWN, isFull: true })
  })

  it('name rows in any order and case, which run in the order of the table', () => {
    expect(readArguments(['--json', 'p10', 'P1'], KNOWN)).toEqual({
      json: true,
      quick: false,
      ids: ['P1', 'P10'],
      isFull: false,
    })
  })

  it('make no full run of a quick one', () => {
    expect(readArguments(['--quick'], KNOWN).isFull).toBe(false)
  })

  it.each([
    [['P99'], 'there is no row P99; there are P1, P2, P10, turns'],
    [['--fast'], '--fast is not known; --json and --quick are'],
  ])('%j are refused with what there is', (words, message) => {
    expect(() => readArguments(words, KNOWN)).toThrow(new BadArguments(message))
  })
})

describe('rows', () => {
  it('stand in the order of their numbers, extras behind', () => {
    expect(['turns', 'P10', 'areas', 'P2', 'P1'].sort(inOrder)).toEqual(['P1', 'P2', 'P10', 'areas', 'turns'])
  })

  it('are all modules of the folder, each with an id of its own', async () => {
    const ids = (await allRows()).map(({ id }) => id)
    expect(ids).toContain('turns')
    expect(new Set(ids).size).toBe(ids.length)
  })
})
