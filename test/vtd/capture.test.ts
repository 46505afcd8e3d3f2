import { describe, expect, it } from 'vitest'
import { ACCESS, NO_PASID, Outcome, STATUS, Transaction } from '../../hw-model/port.js'
import type { PresetName, VtdUnit } from '../../hw-model/vtd/index.js'
import { type CaptureRow, halves, loadCapture, readRows } from './capture.js'

const FIXTURES = new URL('../fixtures/captures/', import.meta.url)

const CAPTURES: readonly { name: string; preset: PresetName; rows: number }[] = [
  { name: 'F', preset: 'qemu-first-stage', rows: 21_895 },
  { name: 'D', preset: 'qemu-legacy', rows: 16_034 },
]

/** What a row says and what the unit answers, in the same words. */
function compare(unit: VtdUnit, row: CaptureRow, tx: Transaction, out: Outcome): { got: string; want: string } {
  const [lo, hi] = halves(row.iova)
  tx.rid = row.sid
  tx.pasid = row.pasid ?? NO_PASID
  tx.lo = lo
  tx.hi = hi
  tx.access = row.access === 'w' ? ACCESS.WRITE : ACCESS.READ
  unit.translate(tx, out)
  const got = out.status === STATUS.OK ? `0x${out.address.toString(16)}` : `fault ${out.fault}`
  const fault = row.spec_fault ?? row.fault
  return { got, want: fault === undefined ? `0x${BigInt(row.pa ?? 0).toString(16)}` : `fault ${Number(fault)}` }
}

describe.each(CAPTURES)('the tables of captured guest $name', ({ name, preset, rows: count }) => {
  const folder = new URL(`${name}/`, FIXTURES)

  it('translate every recorded lookup to the same address or the same fault, cold and from the IOTLB', () => {
    const { unit } = loadCapture(folder, preset)
    const rows = readRows(folder)
    expect(rows.length).toBe(count)
    const tx = new Transaction()
    const out = new Outcome()
    for (const pass of ['cold', 'again']) {
      const mismatches = rows
        .map((row) => ({ pass, row, ...compare(unit, row, tx, out) }))
        .filter(({ got, want }) => got !== want)
      expect(mismatches).toEqual([])
    }
    expect(unit.counters.hits).toBeGreaterThan(0)
  })

  it('explain every lookup to the outcome that translating gives, with its steps', () => {
    const { unit } = loadCapture(folder, preset)
    const tx = new Transaction()
    const out = new Outcome()
    const dry = new Outcome()
    for (const row of readRows(folder).filter((_, index) => index % 50 === 0)) {
      const steps: string[] = []
      compare(unit, row, tx, out)
      unit.explain(tx, dry, { step: (step) => steps.push(step.what) })
      expect([dry.status, dry.address, dry.fault]).toEqual([out.status, out.address, out.fault])
      expect(steps.at(-1)).toBe('result')
      dry.address = 0
      dry.fault = 0
      out.address = 0
      out.fault = 0
    }
  })
})
