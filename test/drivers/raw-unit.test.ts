/** What a private unit makes of the hardware model's interrupts, and how its caches are made. */

import { describe, expect, it } from 'vitest'
import { newOutcome } from '../../server/core/dma-batch.js'
import { DMA_REQUEST } from '../../server/core/driver.js'
import type { CacheMode, RawUnit, RawUnitSpec, RegionMemory, StreamPort } from '../../server/core/machine.js'
import { createMachine } from '../../server/drivers/machine.js'

const files = {
  roots: [],
  map: () => {
    throw new Error('nothing maps files here')
  },
}

const NO_STREAMS: StreamPort = { invalidate() {}, respondToPages() {}, ended() {} }

const RAM = 0x10_0000
const OUTSIDE = 0x80_0000n

/** A unit, with 64 KiB of memory on its bus. */
function scene(spec: Partial<RawUnitSpec> = {}): { unit: RawUnit; region: RegionMemory } {
  const machine = createMachine({ platform: { units: [], devices: [] }, files })
  const region = machine.createRegion({ kind: 'anonymous', lengthBytes: 0x10000 }, () => {})
  const whole: RawUnitSpec = { type: 'smmuv3', preset: '', overrides: new Map(), caches: 'hardware', ...spec }
  const unit = machine.createRawUnit(whole, NO_STREAMS)
  unit.placeRegion(region, RAM)
  return { unit, region }
}

const write = (unit: RawUnit, offset: number, value: bigint, bytes: 4 | 8 = 4): void =>
  unit.writeRegister({ offset, bytes }, value)

const store = (region: RegionMemory, offset: number, ...words: bigint[]): void =>
  region.write(offset, new Uint8Array(BigUint64Array.from(words).buffer))

/** An SMMUv3 whose command queue has one bad command, and whose errors are sent to an address. */
function withError(address: bigint): RawUnit {
  const { unit, region } = scene()
  store(region, 0, 0xffn, 0n)
  write(unit, 0x68, address, 8)
  write(unit, 0x70, 0x1234n)
  write(unit, 0x50, 1n)
  write(unit, 0x90, BigInt(RAM) | 1n, 8)
  write(unit, 0x20, 8n)
  write(unit, 0x98, 1n)
  return unit
}

describe('an interrupt of an SMMUv3', () => {
  it('is a pulse of its wire, by the manual’s name', () => {
    expect(withError(0n).takeEvents()).toEqual({
      events: [{ kind: 'interrupt', address: 0, data: 0, source: 'GERROR' }],
      lost: 0,
    })
  })

  it('is a message too where it has an address, under the same name', () => {
    expect(withError(OUTSIDE).takeEvents().events).toEqual([
      { kind: 'message', address: Number(OUTSIDE), data: 0x1234, source: 'GERROR' },
      { kind: 'interrupt', address: 0, data: 0, source: 'GERROR' },
    ])
  })

  it('is seen in memory where its address is memory', () => {
    const unit = withError(BigInt(RAM) + 0x8000n)
    expect(unit.takeEvents().events.map(({ kind }) => kind)).toEqual(['interrupt'])
  })
})

describe('an interrupt of a VT-d unit', () => {
  it('is a message, and there is no wire', () => {
    const { unit } = scene({ type: 'vtd' })
    // FECTL unmasked, FEDATA, FEADDR; then translation on with no root table, and an access that faults.
    write(unit, 0x3c, 0x41n)
    write(unit, 0x40, 0xfee0_1000n)
    write(unit, 0x38, 0n)
    write(unit, 0x18, 0x8000_0000n)
    const out = newOutcome()
    unit.translate({ sourceId: 8, pasid: -1, lo: 0x1000, hi: 0, access: 1, type: DMA_REQUEST.UNTRANSLATED }, out)
    expect(unit.faultName(out.fault)).not.toBe('')
    expect(unit.takeEvents().events).toEqual([{ kind: 'message', address: 0xfee0_1000, data: 0x41, source: 'fault' }])
  })
})

describe('what a unit offers to streams', () => {
  it('is what its ID registers say', () => {
    const offers = (spec: Partial<RawUnitSpec>): boolean[] => {
      const { stalls, takesPageRequests } = scene(spec).unit
      return [stalls, takesPageRequests]
    }
    expect(offers({})).toEqual([false, false])
    expect(offers({ preset: 'full' })).toEqual([true, true])
    expect(offers({ type: 'vtd' })).toEqual([false, false])
    const { unit } = scene({ type: 'vtd' })
    expect(unit.completeInvalidation(1, false)).toBe(false)
    expect(unit.completeInvalidation(1, true)).toBe(false)
  })
})

/** A stream 8 whose pages 0 and 1 are mapped, by stage 1 of an SMMUv3. */
function mappedSmmu(caches: CacheMode): RawUnit {
  const { unit, region } = scene({ caches })
  store(region, 0x200, BigInt(RAM) | 0x100bn, 0xd6n)
  store(region, 0x1000, 0x1_e205_c000_3510n, BigInt(RAM) + 0x2000n, 0n, 0xf404_ff44n)
  for (const at of [0x2000, 0x3000, 0x4000]) store(region, at, BigInt(RAM + at + 0x1003))
  store(region, 0x5000, BigInt(RAM) | 0xaf47n, BigInt(RAM) | 0xbf47n)
  write(unit, 0x80, BigInt(RAM), 8)
  write(unit, 0x88, 4n)
  write(unit, 0x20, 1n)
  return unit
}

/** The same by the second stage of a VT-d unit in legacy mode: root entry, context entry, four levels. */
function mappedVtd(caches: CacheMode): RawUnit {
  const { unit, region } = scene({ type: 'vtd', preset: 'vtd-legacy', caches })
  store(region, 0, BigInt(RAM) | 0x1001n, 0n)
  store(region, 0x1080, BigInt(RAM) | 0x2001n, 0x102n)
  for (const at of [0x2000, 0x3000, 0x4000]) store(region, at, BigInt(RAM + at + 0x1003))
  store(region, 0x5000, BigInt(RAM) | 0xa003n, BigInt(RAM) | 0xb003n)
  write(unit, 0x20, BigInt(RAM), 8)
  write(unit, 0x18, 0x4000_0000n)
  write(unit, 0x18, 0x8000_0000n)
  return unit
}

describe.each([
  ['an SMMUv3', mappedSmmu],
  ['a VT-d unit', mappedVtd],
] as const)('the caches of %s', (_, mapped) => {
  /** Which of some accesses, to page 0, 0, 1, 0, 1 and 1, a cache answers. */
  function hits(caches: CacheMode): number[] {
    const unit = mapped(caches)
    const out = newOutcome()
    return [0, 0, 0x1000, 0, 0x1000, 0x1000].map((lo) => {
      unit.translate({ sourceId: 8, pasid: -1, lo, hi: 0, access: 1, type: DMA_REQUEST.UNTRANSLATED }, out)
      expect([out.status, out.address]).toEqual([1, RAM + 0xa000 + lo])
      return out.hit
    })
  }

  it('keep nothing, one entry, or what fits', () => {
    expect(hits('off')).toEqual([0, 0, 0, 0, 0, 0])
    expect(hits('minimal')).toEqual([0, 1, 0, 0, 0, 1])
    expect(hits('hardware')).toEqual([0, 1, 0, 1, 1, 1])
  })

  it('may be as greedy as the manual allows', () => {
    const unit = mapped('greedy')
    const out = newOutcome()
    for (const hit of [0, 1]) {
      unit.translate({ sourceId: 8, pasid: -1, lo: 0, hi: 0, access: 1, type: DMA_REQUEST.UNTRANSLATED }, out)
      expect([out.status, out.address, out.hit]).toEqual([1, RAM + 0xa000, hit])
    }
  })
})
