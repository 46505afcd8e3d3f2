/**
 * What is alive in a daemon beside whatever is measured: a unit of each architecture with all of its caches, and eight
 * functions with an ATC, all of them used a while. A row that is timed alone is timed in a machine that nobody has: the
 * engine compiles for the one cache it has seen.
 */

import { resolve } from 'node:path'
import { type Capture, loadCapture } from '../clients/cli/capture/folder.js'
import { idRegistersOf, programOf } from '../clients/cli/capture/registers.js'
import { Memory, SparseBacking } from '../hw-model/memory/index.js'
import { Atc } from '../hw-model/pci/atc.js'
import { ACCESS, AtcInvalidation, Outcome, type RemappingUnit, STATUS, Transaction } from '../hw-model/port.js'
import { idRegisters, SmmuV3 } from '../hw-model/smmuv3/index.js'
import { presetOptions, VtdUnit } from '../hw-model/vtd/index.js'
import { XorShift32 } from './random.js'

const ATCS = 8
/** Times that each unit answers each look-up of its guest, and each ATC its own. */
const ROUNDS = 20
const ATC_LOOKUPS = 2000

/** Captured guests, seen from `dist/`. */
export const CAPTURES = resolve(import.meta.dirname, '../../test/fixtures/captures')

/** Two units and eight ATCs. */
export interface Shape {
  readonly smmuv3: RemappingUnit
  readonly vtd: RemappingUnit
  readonly atcs: readonly Atc[]
  /** Uses each once; a number that is not 0. */
  touch(): number
}

/** Makes the units and the ATCs and uses them. */
export function daemonShape(): Shape {
  const arm = loadCapture(resolve(CAPTURES, 'A'))
  const intel = loadCapture(resolve(CAPTURES, 'F'))
  const smmuv3 = guestSmmu(arm)
  const vtd = guestVtd(intel)
  const atcs = Array.from({ length: ATCS }, () => new Atc())
  for (let round = 0; round < ROUNDS; round++) {
    translateAll(smmuv3, arm)
    translateAll(vtd, intel)
  }
  for (const [i, atc] of atcs.entries()) useAtc(atc, i + 1)
  return {
    smmuv3,
    vtd,
    atcs,
    touch: () => translateAll(smmuv3, arm) + translateAll(vtd, intel) + atcs.reduce((sum, atc) => sum + atc.size, 0),
  }
}

const OWNER = { message: () => {}, interrupt: () => {} }

function guestSmmu(capture: Capture): RemappingUnit {
  const id = Object.fromEntries(idRegistersOf(capture).map(({ name, value }) => [name, Number(value)]))
  const unit = new SmmuV3({ memory: memoryOf(capture), owner: OWNER, id: idRegisters('default', id) })
  return programmed(unit, capture)
}

function guestVtd(capture: Capture): RemappingUnit {
  const ids = Object.fromEntries(
    idRegistersOf(capture).map(({ name, value }) => [name, name === 'VER' ? Number(value) : halvesOf(value)]),
  )
  return programmed(new VtdUnit(memoryOf(capture), OWNER, presetOptions('vtd-scalable', ids)), capture)
}

function memoryOf(capture: Capture): Memory {
  const memory = new Memory()
  for (const { base, lengthBytes } of capture.ram) memory.place(Number(base), new SparseBacking(Number(lengthBytes)))
  for (const { address, bytes } of capture.pages) memory.writeBytes(Number(address), bytes)
  return memory
}

function programmed(unit: RemappingUnit, capture: Capture): RemappingUnit {
  for (const { offset, width, value } of programOf(capture)) unit.writeRegister(offset, width, ...halvesOf(value))
  return unit
}

/** All look-ups of the guest. Answers how many found something. */
function translateAll(unit: RemappingUnit, { rows }: Capture): number {
  const transaction = new Transaction()
  const outcome = new Outcome()
  let found = 0
  for (const { sid, iova, access } of rows) {
    transaction.rid = sid
    ;[transaction.lo, transaction.hi] = halvesOf(iova)
    transaction.access = access === 'w' ? ACCESS.WRITE : ACCESS.READ
    unit.translate(transaction, outcome)
    if (outcome.status === STATUS.OK) found++
  }
  return found
}

/** Look-ups of a hundred pages under a few PASIDs and none; now and then an invalidation. */
function useAtc(atc: Atc, seed: number): void {
  const random = new XorShift32(seed)
  const granted = new Outcome()
  const invalidation = new AtcInvalidation()
  invalidation.sizeLg2 = 13
  granted.rights = ACCESS.READ | ACCESS.WRITE
  for (let i = 0; i < ATC_LOOKUPS; i++) {
    const pasid = random.below(4) - 1
    const lo = random.below(100) << 12
    granted.address = lo + 0x8000_0000
    if (!atc.find(pasid, false, lo, 0)) atc.fill(pasid, false, lo, 0, granted)
    if (i % 50 !== 0) continue
    invalidation.pasid = pasid
    invalidation.lo = lo & ~0x1fff
    atc.invalidate(invalidation)
  }
}

const halvesOf = (value: bigint): [lo: number, hi: number] => [
  Number(value & 0xffff_ffffn) | 0,
  Number(value >> 32n) | 0,
]
