import { describe, expect, it } from 'vitest'
import { type Criterion, failedRow, Missing, type TableRow, tableRow } from '../../bench/row.js'
import { linesOf, merged, rowsOf, verdictOf, withTable } from '../../bench/table.js'

const FAST: Criterion = { name: 'JS / C', measured: 1.51234, must: { atMost: 2.2 }, should: { atMost: 1.6 } }
const SLOW: Criterion = { name: 'JS / C', measured: 3, must: { atMost: 2.2 } }
const FASTER: Criterion = { name: 'QEMU / JS', measured: 12, must: { atLeast: 9 } }
const SLOWER: Criterion = { name: 'QEMU / JS', measured: 2, must: { atLeast: 9 } }
const UNKNOWN: Criterion = { name: 'VT-d / JS', measured: null, must: { atLeast: 3.5 }, missing: 'glib is not here' }

const rowOf = (...criteria: Criterion[]): TableRow =>
  tableRow({ id: 'P1', what: 'a hit' }, { criteria, detail: { pages: 5 } }, false)

describe('a row as JSON', () => {
  it('has the numbers of its first criterion, and all of them in the detail', () => {
    expect(rowOf(FAST, FASTER)).toEqual({
      id: 'P1',
      measured: 1.51,
      must: 2.2,
      should: 1.6,
      reached: true,
      detail: { what: 'a hit', criteria: [{ ...FAST, measured: 1.51 }, FASTER], pages: 5 },
    })
  })

  it.each([
    ['reached where all bounds are kept', [FAST, FASTER], true],
    ['not reached where an upper bound is not kept', [SLOW, FASTER], false],
    ['not reached where a lower bound is not kept', [FAST, SLOWER], false],
    ['open where a part is not measured and the rest is reached', [FAST, UNKNOWN], null],
    ['not reached where a part is not measured and another is too slow', [SLOW, UNKNOWN], false],
    ['open where nothing is asked', [{ name: 'x', measured: 1 }], null],
  ] as const)('is %s', (_, criteria, reached) => {
    expect(rowOf(...criteria).reached).toBe(reached)
  })

  it('names what is missing for what was not measured', () => {
    expect(rowOf(FAST, UNKNOWN).detail['skipped']).toBe('glib is not here')
  })

  it('is open where something is missing on this machine, and not reached where it failed', () => {
    const row = { id: 'P7', what: 'areas' }
    expect(failedRow(row, new Missing('rustc is not here'))).toMatchObject({
      reached: null,
      detail: { skipped: 'rustc is not here' },
    })
    expect(failedRow(row, new Error('broken'))).toMatchObject({ reached: false, detail: { failed: 'broken' } })
  })

  it('has no number that JSON cannot hold', () => {
    expect(rowOf({ ...FAST, measured: Number.NaN })).toMatchObject({ measured: null, reached: null })
  })
})

describe('a verdict', () => {
  it.each([
    [[FAST], 'reached, and what it should'],
    [[FAST, FASTER], 'reached, and what it should'],
    [[{ ...FAST, measured: 2 }], 'reached'],
    [[SLOW, SLOWER], 'not reached: JS / C 3 (must <= 2.2); QEMU / JS 2 (must >= 9)'],
    [[FAST, UNKNOWN], 'not measured: glib is not here'],
    [[{ name: 'x', measured: 1 }], 'nothing is asked'],
  ] as const)('of %j', (criteria, verdict) => {
    expect(verdictOf(rowOf(...criteria))).toBe(verdict)
  })

  it('says what a failure was', () => {
    expect(verdictOf(failedRow({ id: 'P1', what: '' }, new Error('sums differ')))).toBe('FAILED: sums differ')
  })
})

describe('the last results', () => {
  it('keep rows that this run did not measure', () => {
    const [p2, p10] = [rowOf(FAST), rowOf(SLOW)].map((row, i) => ({ ...row, id: i === 0 ? 'P2' : 'P10' }))
    const fresh = { ...rowOf(SLOW), id: 'P2' }
    expect(merged([p10, p2], [fresh])).toEqual([fresh, p10])
  })

  it.each(['', '{}', '{"rows":3}', 'no JSON'])('begin anew after %j', (text) => {
    expect(rowsOf(text)).toEqual([])
  })

  it('leave out rows in the form of an older bench', () => {
    const row = rowOf(FAST)
    expect(rowsOf(JSON.stringify({ rows: [row, { id: 'hit', measured: 3, detail: {} }] }))).toEqual([row])
  })
})

describe('the table', () => {
  const before = '# bench\n<!-- table: written by a full `npm run bench` -->\nold\n<!-- end of the table -->\nafter\n'

  it('takes the place of the one before, and of nothing else', () => {
    expect(withTable(before, [rowOf(SLOW)]).split('\n')).toEqual([
      '# bench',
      '<!-- table: written by a full `npm run bench` -->',
      '| row | what | measured | must | should | |',
      '|---|---|---|---|---|---|',
      '| P1 | a hit | 3 | 2.2 | – | not reached: JS / C 3 (must <= 2.2) |',
      '<!-- end of the table -->',
      'after',
      '',
    ])
  })

  it('needs its place', () => {
    expect(() => withTable('# bench\n', [])).toThrow('no place for the table')
  })

  it('is printed with every number and the limit', () => {
    const row = tableRow({ id: 'P1', what: 'a hit' }, { criteria: [SLOW], detail: {}, limit: 'two lines a hit' }, false)
    expect(linesOf([row])).toBe(
      [
        'P1    a hit',
        '      not reached: JS / C 3 (must <= 2.2)',
        '        JS / C 3 (must <= 2.2)',
        '      limit: two lines a hit',
      ].join('\n'),
    )
  })
})
