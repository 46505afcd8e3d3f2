/** The captured arm64 guest's successful lookups, through the unit with its cache and without, and through a Map. */

import { resolve } from 'node:path'
import { loadCapture } from '../clients/cli/capture/folder.js'
import { idRegistersOf, programOf } from '../clients/cli/capture/registers.js'
import { Memory, SparseBacking } from '../hw-model/memory/index.js'
import { ACCESS, Outcome, STATUS, Transaction } from '../hw-model/port.js'
import { cachesOfSize, idRegisters, SmmuV3 } from '../hw-model/smmuv3/index.js'
import type { Contender } from './measure.js'

/** Enough for all pages of the capture. */
const ENTRIES = 1 << 14

/** Builds the three contenders. All translate the same pages in the same order. */
export function guestLookups(): { hit: Contender; walk: Contender; map: Contender } {
  const capture = loadCapture(resolve(import.meta.dirname, '../../test/fixtures/captures/A'))
  const rows = capture.rows.filter(({ pa }) => pa !== undefined)
  const rids = Int32Array.from(rows, ({ sid }) => sid)
  const los = Int32Array.from(rows, ({ iova }) => Number(iova & 0xffff_ffffn) | 0)
  const his = Int32Array.from(rows, ({ iova }) => Number(iova >> 32n) | 0)
  const writes = Uint8Array.from(rows, ({ access }) => (access === 'w' ? ACCESS.WRITE : ACCESS.READ))

  const through = (unit: SmmuV3): Contender['run'] => {
    const transaction = new Transaction()
    const outcome = new Outcome()
    return (rounds) => {
      let sum = 0
      for (let round = 0; round < rounds; round++) {
        for (let i = 0; i < rids.length; i++) {
          transaction.rid = rids[i]
          transaction.lo = los[i]
          transaction.hi = his[i]
          transaction.access = writes[i]
          unit.translate(transaction, outcome)
          if (outcome.status !== STATUS.OK) throw new Error('a lookup of the capture did not translate')
          sum = (sum + outcome.address) % 2 ** 32
        }
      }
      return sum
    }
  }
  const unitWith = (entries: number): SmmuV3 => {
    const memory = new Memory()
    for (const { base, lengthBytes } of capture.ram) memory.place(Number(base), new SparseBacking(Number(lengthBytes)))
    for (const { address, bytes } of capture.pages) memory.writeBytes(Number(address), bytes)
    const id = Object.fromEntries(idRegistersOf(capture).map(({ name, value }) => [name, Number(value)]))
    const owner = { message: () => {}, interrupt: () => {} }
    const unit = new SmmuV3({
      memory,
      owner,
      id: idRegisters('default', id),
      caches: cachesOfSize({ entries, ways: entries === 0 ? 1 : 4 }),
    })
    for (const { offset, width, value } of programOf(capture)) {
      unit.writeRegister(offset, width, Number(value & 0xffff_ffffn), Number(value >> 32n))
    }
    return unit
  }

  const pages = new Map(rows.map(({ sid, iova, pa }) => [keyOf(sid, iova), Number(pa)]))
  const keys = Float64Array.from(rows, ({ sid, iova }) => keyOf(sid, iova))
  const lookUp: Contender['run'] = (rounds) => {
    let sum = 0
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < keys.length; i++) sum = (sum + (pages.get(keys[i]) as number)) % 2 ** 32
    }
    return sum
  }
  return {
    hit: { name: 'hit', operations: rows.length, run: through(unitWith(ENTRIES)) },
    walk: { name: 'walk', operations: rows.length, run: through(unitWith(0)) },
    map: { name: 'Map', operations: rows.length, run: lookUp },
  }
}

const keyOf = (sid: number, iova: bigint): number => sid * 2 ** 40 + Number(iova >> 12n)
