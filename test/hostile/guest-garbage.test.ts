/**
 * Units over hostile guest memory: whatever stands in tables, queues and registers, a unit answers every access, in a
 * bounded time, throws nothing and does not grow.
 */

import { describe, expect, it } from 'vitest'
import { NO_PASID, Outcome, REQUEST, type RemappingUnit, STATUS, Transaction } from '../../hw-model/port.js'
import {
  CountingOwner,
  GARBAGE,
  garbageMemory,
  garbageUnit,
  programUnit,
  RAM_BASE,
  registerOffset,
} from './guest-garbage.js'
import { Random } from './random.js'

const LONG = process.env.IOMMUD_TEST_LONG === '1'
const SEEDS = LONG ? 40 : 5
const TRANSLATIONS = 20_000

/** Longest time of one translation or register write: microseconds, unless a busy machine takes the core away. */
const CALL_MS = 2_000

/** What a unit may keep beyond its caches, whatever it was told. */
const GROWTH_BYTES = 96 * 2 ** 20

const STATUSES: readonly number[] = Object.values(STATUS)

function fill(random: Random, transaction: Transaction): void {
  transaction.rid = random.oneIn(50) ? random.u32() : random.below(64)
  transaction.pasid = random.oneIn(2) ? NO_PASID : random.oneIn(20) ? 0xfffff : random.below(80)
  transaction.lo = random.oneIn(3) ? random.u32() : RAM_BASE + (random.below(256) << 12)
  transaction.hi = random.pick([0, 0, 0, 0x7fff, 0x8000, 0xffff_8000, 0xffff_ffff, random.u32()])
  transaction.access = 1 + random.below(15)
  transaction.type = random.oneIn(30) ? random.pick(Object.values(REQUEST)) : REQUEST.UNTRANSLATED
  transaction.bytes = random.pick([0, 1, 4, 8, 4096])
}

/** What a run came to. */
interface Run {
  readonly outcomes: Set<number>
  readonly faults: Set<number>
  slowestMs: number
  slowest: string
}

function timed(run: Run, what: string, work: () => void): void {
  const startedAt = performance.now()
  work()
  const took = performance.now() - startedAt
  if (took > run.slowestMs) Object.assign(run, { slowestMs: took, slowest: what })
}

function torment(random: Random, unit: RemappingUnit, run: Run): void {
  const transaction = new Transaction()
  const outcome = new Outcome()
  let steps = 0
  for (let i = 0; i < TRANSLATIONS; i++) {
    fill(random, transaction)
    const { rid, pasid, lo, hi, access, type } = transaction
    const what = `rid ${rid} pasid ${pasid} iova ${hi.toString(16)}:${lo.toString(16)} access ${access} type ${type}`
    timed(run, `translate ${what}`, () => unit.translate(transaction, outcome))
    run.outcomes.add(outcome.status)
    if (outcome.status === STATUS.FAULT) run.faults.add(outcome.fault)
    if (outcome.status === STATUS.OK && !(outcome.address >= 0 && outcome.address < 2 ** 52)) {
      throw new Error(`address ${outcome.address} of ${what}`)
    }
    if (!STATUSES.includes(outcome.status)) throw new Error(`status ${outcome.status} of ${what}`)
    if (outcome.status === STATUS.FAULT && unit.faultName(outcome.fault) === '')
      throw new Error(`a nameless fault of ${what}`)
    if (i % 50 === 0) {
      steps = 0
      timed(run, `explain ${what}`, () => unit.explain(transaction, outcome, { step: () => steps++ }))
      if (steps > 400) throw new Error(`${steps} steps explain ${what}`)
    }
    if (i % 40 === 0) {
      const offset = registerOffset(random, unit)
      const [lo32, hi32] = [random.oneIn(3) ? random.u32() : random.below(0x100), random.oneIn(3) ? random.u32() : 0]
      const bytes = offset % 8 === 0 && random.oneIn(2) ? 8 : 4
      timed(run, `write ${offset.toString(16)}`, () => unit.writeRegister(offset, bytes, lo32, hi32))
    }
    if (i % 500 === 0) timed(run, 'program', () => programUnit(random, unit))
    if (i % 5000 === 4999) unit.reset()
  }
}

/** Bytes in use, rubbish included: what grows without bound passes any limit anyway. */
const bytesInUse = (): number => {
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

describe.each(['smmuv3', 'vtd'] as const)('a %s unit', (arch) => {
  const seeds = Array.from({ length: SEEDS }, (_, i) => i + 1)
  const seen: Run = { outcomes: new Set(), faults: new Set(), slowestMs: 0, slowest: '' }

  describe.each(GARBAGE)('over memory full of %s', (garbage) => {
    it.each(seeds)(`answers ${TRANSLATIONS} accesses, each in time, and does not grow (seed %i)`, (seed) => {
      const random = new Random(seed, GARBAGE.indexOf(garbage) * 2 + (arch === 'vtd' ? 1 : 0))
      const memory = garbageMemory(random, garbage, arch)
      const before = bytesInUse()
      const unit = garbageUnit(random, memory, arch, new CountingOwner())
      const run: Run = { outcomes: seen.outcomes, faults: seen.faults, slowestMs: 0, slowest: '' }
      torment(random, unit, run)
      expect(run.slowestMs, run.slowest).toBeLessThan(CALL_MS)
      expect(bytesInUse() - before).toBeLessThan(GROWTH_BYTES)
    })
  })

  it('met good and bad tables of many kinds on the way', () => {
    expect(seen.outcomes).toContain(STATUS.OK)
    expect(seen.outcomes).toContain(STATUS.FAULT)
    expect(seen.faults.size).toBeGreaterThan(10)
  })
})
