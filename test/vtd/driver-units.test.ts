/** What entries say on units that lack something: a field whose capability is absent is reserved, and stays 0. */

import { describe, expect, it } from 'vitest'
import { PRESETS, type PresetName } from '../../hw-model/vtd/index.js'
import { type DomainOps, type PagingFlags, type PagingOps, type Refusal, RID_SLOT } from '../../server/core/driver.js'
import { Tape } from './driver-tape.js'
import { CLIENT, dma, FS_RW, guestMaps, makeHost, makeParent, makeUser, NEST_PARENT, PLAIN } from './host.js'

const RW = { read: true, write: true }
const DIRTY: PagingFlags = { nestParent: false, dirtyTracking: true, pasid: false }

/** Bits of ECAP. [VTD 11.4.3] */
const SC = 1n << 7n
const NEST = 1n << 26n
const EAFS = 1n << 34n
const SSADS = 1n << 45n
const SSTS = 1n << 46n
const FSTS = 1n << 47n
const SMPWCS = 1n << 48n
const without = (...bits: bigint[]) => {
  const word = bits.reduce((left, bit) => left & ~bit, 0x0013e99c84000fc3n)
  return { ECAP: [Number(word & 0xffffffffn), Number(word >> 32n)] } as const
}

/** The first three words of the entry of a new domain, without the addresses of tables; DMA through it works. */
function entryOf(options: Parameters<typeof makeHost>[0], flags: PagingFlags | 'nested'): string[] {
  const host = makeHost(options)
  const device = host.probe(8)
  const tape = new Tape(host)
  let domain: DomainOps
  if (flags === 'nested') {
    guestMaps(host.memory, [0x1000, 0x2000, 0x3000, 0x4000], 0x7000n, BigInt(0x8000 | FS_RW))
    domain = makeUser(host, device, makeParent(host, device), 0x1000)
  } else {
    const paging = host.driver.createPaging(device, flags)
    paging.map(0x7000n, CLIENT + 0x8000, 0x1000n, RW)
    domain = paging
  }
  device.set(5, domain, null)
  expect(dma(device, 0x7008n, 'w', 5)).toBe('0x100008008')
  return tape.words(tape.pasidEntry(8, 5), 3).map((word, i) => {
    const kept = i === 1 ? BigInt(word) : BigInt(word) & 0xfffn
    return `0x${kept.toString(16)}`
  })
}

const refused = (options: Parameters<typeof makeHost>[0], flags: PagingFlags): string => {
  const host = makeHost(options)
  try {
    host.driver.createPaging(host.probe(8), flags)
  } catch (error) {
    return (error as Refusal).name
  }
  return 'none'
}

describe('a unit with a first stage alone', () => {
  const options = { overrides: { ...without(SSTS, NEST, SSADS), CAP: [0x226f0006, 0x81d2078c] as const } }

  it('has no AW, which is the second stage’s', () => {
    expect(entryOf(options, PLAIN)).toEqual(['0x41', '0x1800002', '0x0'])
  })

  it('has no nesting parents and no dirty tracking: EOPNOTSUPP', () => {
    expect([refused(options, NEST_PARENT), refused(options, DIRTY)]).toEqual(['EOPNOTSUPP', 'EOPNOTSUPP'])
  })

  it('has a pass-through entry without AW too', () => {
    const host = makeHost(options)
    const device = host.probe(8)
    const tape = new Tape(host)
    device.set(RID_SLOT, host.driver.identity as unknown as DomainOps, null)
    expect(tape.words(tape.pasidEntry(8, 0), 2)).toEqual(['0x101', '0x800001'])
  })
})

describe('a unit with a second stage alone', () => {
  it('has plain domains there', () => {
    const overrides = { ...without(FSTS, NEST, EAFS), CAP: [0x226f0606, 0x80d2078c] as const }
    expect(entryOf({ overrides }, PLAIN)).toEqual(['0x89', '0x800002', '0x0'])
    const host = makeHost({ overrides })
    const device = host.probe(8)
    const tape = new Tape(host)
    device.set(RID_SLOT, host.driver.identity as unknown as DomainOps, null)
    expect(tape.words(tape.pasidEntry(8, 0), 1)).toEqual(['0x109'])
  })
})

describe('a unit without', () => {
  it('snoop control has no PGSNP in entries and no SNP in leaves', () => {
    const options = { overrides: without(SC) }
    expect(entryOf(options, PLAIN)).toEqual(['0x49', '0x800002', '0x0'])
    expect(entryOf(options, 'nested')).toEqual(['0xc9', '0x800002', '0x0'])
    expect(entryOf(options, NEST_PARENT)).toEqual(['0x89', '0x800002', '0x0'])
  })

  it('snooped page walks has no PWSNP', () => {
    const options = { overrides: without(SMPWCS, EAFS, SSADS) }
    expect(entryOf(options, PLAIN)).toEqual(['0x49', '0x1000002', '0x0'])
    expect(entryOf(options, 'nested')).toEqual(['0xc9', '0x1000002', '0x0'])
  })
})

describe('a unit of five levels', () => {
  it('has AW 3, and FSPM 01 for its own first stages', () => {
    const options = { preset: 'vtd-scalable-57' } as const
    expect(entryOf(options, PLAIN)).toEqual(['0x4d', '0x1800002', '0x4'])
    expect(entryOf(options, NEST_PARENT)).toEqual(['0x8d', '0x800002', '0x0'])
    expect(entryOf(options, 'nested')).toEqual(['0xcd', '0x1800002', '0x0'])
  })
})

describe('every preset', () => {
  it.each(Object.keys(PRESETS) as PresetName[])('%s is driven with every kind of domain that it has', (preset) => {
    const host = makeHost({ preset })
    const { ecap } = host.driver.hardware
    const device = host.probe(8, true)
    const kinds: PagingFlags[] = [PLAIN]
    if (ecap['NEST']) kinds.push(NEST_PARENT)
    if (host.driver.canTrackDirty) kinds.push(DIRTY)
    let old: PagingOps | null = null
    for (const [i, flags] of kinds.entries()) {
      const domain = host.driver.createPaging(device, flags)
      domain.map(0x7000n, CLIENT + i * 4096, 0x1000n, RW)
      device.set(RID_SLOT, domain, old)
      expect(dma(device, 0x7008n, 'w')).toBe(`0x${(CLIENT + i * 4096 + 8).toString(16)}`)
      domain.unmap(0x7000n, 0x1000n)
      domain.flush()
      expect(dma(device, 0x7008n, 'w')).not.toMatch(/^0x1/)
      old = domain
    }
    if (old !== null) device.clear(RID_SLOT, old)
    if (ecap['PT']) {
      device.set(RID_SLOT, host.driver.identity as unknown as DomainOps, null)
      expect(dma(device, BigInt(CLIENT))).toBe('0x100000000')
    }
    if (ecap['NEST']) {
      guestMaps(host.memory, [0x1000, 0x2000, 0x3000, 0x4000], 0x7000n, BigInt(0x8000 | FS_RW))
      const slot = device.maxPasids > 0 ? 5 : RID_SLOT
      device.set(slot, makeUser(host, device, makeParent(host, device), 0x1000), null)
      expect(dma(device, 0x7008n, 'w', slot === RID_SLOT ? undefined : slot)).toBe('0x100008008')
    }
  })
})

describe('the leaves of a second stage', () => {
  it('snoop: SNP, bit 11, beside R and W', () => {
    const host = makeHost()
    const tape = new Tape(host)
    const parent = host.driver.createPaging(host.probe(8), NEST_PARENT)
    tape.clear()
    parent.map(0n, CLIENT, 0x1000n, RW)
    let table = (parent as unknown as { root: number }).root
    for (let level = 0; level < 3; level++) table = Number(BigInt(tape.words(table, 1)[0]) & 0xffff_ffff_f000n)
    expect(tape.words(table, 1)).toEqual([`0x${(CLIENT + 0x803).toString(16)}`])
  })
})

describe('resetting a device', () => {
  it('leaves its attachments', () => {
    const host = makeHost()
    const device = host.probe(8)
    const domain = host.driver.createPaging(device, PLAIN)
    domain.map(0n, CLIENT, 0x1000n, RW)
    device.set(5, domain, null)
    expect(device.reset()).toBeUndefined()
    expect(dma(device, 8n, 'r', 5)).toBe('0x100000008')
  })
})
