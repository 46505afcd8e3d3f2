/** A Linux guest's tables, commands and events, as its own driver wrote them, walked by a raw unit. */

import { beforeAll, describe, expect, it } from 'vitest'
import { SparseBacking } from '../../hw-model/memory/backing.js'
import { Memory } from '../../hw-model/memory/memory.js'
import { ACCESS, NO_PASID, Outcome, STATUS, Transaction } from '../../hw-model/port.js'
import { idRegisters } from '../../hw-model/smmuv3/presets.js'
import { OFFSET } from '../../hw-model/smmuv3/registers.js'
import { SmmuV3 } from '../../hw-model/smmuv3/unit.js'
import { capture, expected, loadPages, type Row, rows } from './captured-guest.js'

/** The guest's memory: its RAM, sparse, and the captured pages in it. */
function guestMemory(): Memory {
  const memory = new Memory()
  for (const { base, size } of capture.ram) memory.place(Number(base), new SparseBacking(Number(size)))
  expect(loadPages(memory, (address) => address)).toBe(0)
  return memory
}

/** A unit programmed with the captured registers, in the order in which the guest's driver writes them. */
function guestUnit(memory: Memory): SmmuV3 {
  const value = (name: string): bigint => BigInt(capture.registers[name])
  const id = { IDR0: 0, IDR1: 0, IDR2: 0, IDR3: 0, IDR4: 0, IDR5: 0, IIDR: 0, AIDR: 0 }
  for (const name of Object.keys(id) as (keyof typeof id)[]) id[name] = Number(value(name))
  const unit = new SmmuV3({
    memory,
    owner: { message: () => undefined, interrupt: () => undefined },
    id: idRegisters('qemu', id),
  })
  const write = (name: keyof typeof OFFSET, bytes: 4 | 8 = 4): void => {
    const word = value(name)
    unit.writeRegister(OFFSET[name], bytes, Number(word & 0xffffffffn), Number(word >> 32n))
  }
  write('CR1')
  write('CR2')
  write('STRTAB_BASE', 8)
  write('STRTAB_BASE_CFG')
  write('CMDQ_BASE', 8)
  write('CMDQ_CONS')
  write('CMDQ_PROD')
  write('EVENTQ_BASE', 8)
  write('EVENTQ_PROD')
  write('EVENTQ_CONS')
  write('IRQ_CTRL')
  write('CR0')
  return unit
}

const HALF = 0xffffffffn

function fill(transaction: Transaction, row: Row): void {
  const iova = BigInt(row.iova)
  transaction.rid = row.sid
  transaction.pasid = row.pasid ?? NO_PASID
  transaction.lo = Number(iova & HALF)
  transaction.hi = Number(iova >> 32n)
  transaction.access = row.access === 'r' ? ACCESS.READ : ACCESS.WRITE
}

function answer(unit: SmmuV3, outcome: Outcome): string {
  if (outcome.status === STATUS.OK) return `0x${outcome.address.toString(16)}`
  if (outcome.status === STATUS.ABORTED) return 'ABORT'
  return unit.faultName(outcome.fault)
}

describe('a captured Linux guest on a raw unit', () => {
  let memory: Memory
  let unit: SmmuV3
  beforeAll(() => {
    memory = guestMemory()
    unit = guestUnit(memory)
  })

  it('has 18,599 look-ups', () => {
    expect(rows.length).toBe(18599)
  })

  it('translates every look-up as the guest saw it, cached or not', () => {
    const transaction = new Transaction()
    const outcome = new Outcome()
    for (const round of ['walked', 'cached']) {
      const wrong = rows.filter((row) => {
        fill(transaction, row)
        unit.translate(transaction, outcome)
        return answer(unit, outcome) !== expected(row)
      })
      expect(wrong, round).toEqual([])
    }
    expect(unit.counters.hits).toBeGreaterThan(9000)
  })

  it('explains every look-up with the same answer, and leaves no trace of it', () => {
    const before = unit.counters
    const transaction = new Transaction()
    const outcome = new Outcome()
    const wrong = rows.filter((row) => {
      fill(transaction, row)
      let steps = 0
      unit.explain(transaction, outcome, { step: () => steps++ })
      return answer(unit, outcome) !== expected(row) || steps < 1
    })
    expect(wrong).toEqual([])
    expect(unit.counters).toEqual(before)
  })

  it('writes the event records that the guest read, bit by bit', () => {
    const fresh = guestUnit(memory)
    const base = Number(BigInt(capture.registers['EVENTQ_BASE']) & 0xffffffffff000n)
    const slots = 2 ** Number(BigInt(capture.registers['EVENTQ_BASE']) & 31n)
    const transaction = new Transaction()
    const outcome = new Outcome()
    const words = new Int32Array(8)
    let compared = 0
    for (const row of rows) {
      if (row.event === undefined) continue
      fill(transaction, row)
      const slot = fresh.readRegister(0x100a8, 4)[0] % slots
      fresh.translate(transaction, outcome)
      fresh.writeRegister(0x100ac, 4, fresh.readRegister(0x100a8, 4)[0], 0)
      memory.loadRecord(base + slot * 32, words, 0, 8)
      const record = [0, 2, 4, 6].map((at) => `0x${join64(words[at], words[at + 1]).toString(16)}`)
      if (row.spec_fault === undefined) expect(record).toEqual(row.event)
      compared++
    }
    expect(compared).toBeGreaterThan(2000)
  })
})

const join64 = (lo: number, hi: number): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
