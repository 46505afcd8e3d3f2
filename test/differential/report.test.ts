import { describe, expect, it } from 'vitest'
import { argumentsOf } from './arguments.js'
import { comparedBits } from './quirks.js'
import { FULL_RUN, Tally } from './report.js'

const agreed = { ends: 'translated', change: '', excuses: [], hasDifferences: false }

describe('a tally', () => {
  it('counts a case once, and each of its excuses', () => {
    const tally = new Tally(['translated'])
    tally.count(agreed)
    tally.count({ ...agreed, excuses: ['A', 'B'], change: 'stale' })
    tally.count({ ...agreed, excuses: ['A'], hasDifferences: true })
    const { cases, excused, disagreed, mix, excusedBy } = tally
    expect({ cases, agreed: tally.agreed, excused, disagreed }).toEqual({
      cases: 3,
      agreed: 1,
      excused: 1,
      disagreed: 1,
    })
    expect(mix).toEqual({ translated: 3, stale: 1, rewalked: 0 })
    expect(excusedBy).toEqual({ A: 2, B: 1 })
  })

  it('has the keys of the promised line in its report', () => {
    const report = new Tally(['translated']).report('smmuv3', 7, 'QEMU', 1.5)
    expect(JSON.parse(JSON.stringify(report))).toEqual({
      arch: 'smmuv3',
      seed: 7,
      qemu: 'QEMU',
      cases: 0,
      agreed: 0,
      excused: 0,
      disagreed: 0,
      mix: { translated: 0, stale: 0, rewalked: 0 },
      excusedBy: {},
      gone: [],
      wrong: [],
      withheld: 0,
      crashes: 0,
      seconds: 1.5,
      missing: [],
    })
  })

  it('asks a full run for its mix, and a shorter one for nothing', () => {
    const tally = new Tally(['translated', 'F_ACCESS'])
    for (let i = 1; i < FULL_RUN; i++) tally.count(agreed)
    expect(tally.missing()).toEqual([])
    tally.count({ ...agreed, excuses: ['A'] })
    expect(tally.missing()).toEqual([
      'fewer than 10 % hit an entry whose table changed',
      'F_ACCESS is rarer than 0.1 %',
    ])
  })

  it('lets no excuse cover more than 2 %', () => {
    const tally = new Tally([])
    for (let i = 0; i < FULL_RUN; i++) tally.count({ ...agreed, change: 'stale', excuses: i % 49 === 0 ? ['A'] : [] })
    expect(tally.missing()).toEqual(['the excuse A covers more than 2 %'])
  })
})

describe('an excuse', () => {
  const quirk = { name: 'Q', does: '', manual: '' }

  it('hides the bits that it names, and no others', () => {
    const low = { ...quirk, hides: { 6: 0xfff } }
    const rnw = { ...quirk, hides: { 3: 8 } }
    expect([comparedBits([low, rnw], 6), comparedBits([low, rnw], 3), comparedBits([low, rnw], 0)]).toEqual([
      ~0xfff,
      ~8,
      -1,
    ])
  })

  it('hides every bit of a record that it names whole', () => {
    expect(comparedBits([{ ...quirk, hides: 'record' }], 2)).toBe(0)
  })
})

describe('the command line', () => {
  it('has a value for everything that is left out', () => {
    expect(argumentsOf([])).toEqual({ arch: 'smmuv3', cases: 20_000, seed: 1, only: null, json: false })
  })

  it('takes every option', () => {
    const words = ['--arch', 'smmuv3', '--cases', '7', '--seed', '9', '--only', '3', '--json']
    expect(argumentsOf(words)).toEqual({ arch: 'smmuv3', cases: 7, seed: 9, only: 3, json: true })
    expect(argumentsOf(['--arch', 'vtd']).arch).toBe('vtd')
  })

  it('is refused for an architecture that is not known, for what is no number, and for unknown options', () => {
    expect(() => argumentsOf(['--arch', 'amd'])).toThrow('--arch must be smmuv3 or vtd, not amd')
    expect(() => argumentsOf(['--cases', 'many'])).toThrow('--cases must be a whole number, not many')
    expect(() => argumentsOf(['--seed=-1'])).toThrow('--seed must be a whole number, not -1')
    expect(() => argumentsOf(['--what'])).toThrow()
  })
})
