/**
 * The stores into PASID table entries and the descriptors that go with them, in order, word for word as Linux has them.
 * Entries are spelled from the manual. [VTD 9.6, 6.5.2, 6.5.3.3 T28]
 */

import { describe, expect, it } from 'vitest'
import { type DomainOps, givenData, type PagingOps, RID_SLOT } from '../../server/core/driver.js'
import { Tape } from './driver-tape.js'
import { makeHost, makeParent, makeUser, NEST_PARENT, PLAIN } from './host.js'

const RID = 0x0108
/** The default registers with CM, bit 7. [VTD 11.4.2] */
const CACHING = { CAP: [0x226f0686, 0x81d2078c] } as const

const ZERO = Array.from({ length: 8 }, (_, i) => `q${i} <- 0x0`)

/** Address of a domain's root table. */
const rootOf = (domain: DomainOps): number => (domain as unknown as { root: number }).root
const word = (root: number, bits: number): string => `0x${(BigInt(root) | BigInt(bits)).toString(16)}`

function setUp(options: Parameters<typeof makeHost>[0] = {}, pasidLg2 = 20) {
  const host = makeHost(options, pasidLg2)
  const device = host.probe(RID)
  const tape = new Tape(host)
  const plain = (): PagingOps => host.driver.createPaging(device, PLAIN)
  const second = (): PagingOps => host.driver.createPaging(device, NEST_PARENT)
  /** What `run` does to the entry of a slot. */
  const did = (slot: number, run: () => void): string[] => {
    tape.clear()
    run()
    return tape.lines(tape.pasidEntry(RID, slot))
  }
  return { host, device, tape, plain, second, did }
}

describe('a scalable-mode context entry', () => {
  it('points to a directory of as many PASIDs as the device has, at least one page of it', () => {
    // PDTS in bits 11:9 is log2(entries) - 7; a page holds 512 entries. P 0, PASIDE 3.
    const of = (pasidLg2: number): [low: bigint, rest: string[]] => {
      const { tape } = setUp({}, pasidLg2)
      const [low, ...rest] = tape.words(tape.scalableContext(RID), 4)
      return [BigInt(low) & 0xfffn, rest]
    }
    const ZEROES = ['0x0', '0x0', '0x0']
    expect(of(20)).toEqual([(7n << 9n) | 9n, ZEROES])
    expect(of(16)).toEqual([(3n << 9n) | 9n, ZEROES])
    expect(of(15)).toEqual([(2n << 9n) | 9n, ZEROES])
    expect(of(3)).toEqual([(2n << 9n) | 9n, ZEROES])
    expect(of(0)).toEqual([(2n << 9n) | 1n, ZEROES])
  })

  it('that caching mode may have kept absent is invalidated with domain-id 0', () => {
    const host = makeHost({ overrides: CACHING })
    const tape = new Tape(host)
    host.probe(RID)
    expect(tape.lines(0, 0)).toEqual(['0x10800000031 0x0', 'wait', '0xe2 0x0', 'wait'])
  })
})

describe('attaching', () => {
  it('a first stage zeroes the entry, fills it from its end and sets P last', () => {
    const { device, plain, did } = setUp()
    const domain = plain()
    const root = rootOf(domain)
    // FSPTPTR; DID 2, PWSNP 23, PGSNP 24; AW 2, PGTT 001.
    expect(did(5, () => device.set(5, domain, null))).toEqual([
      ...ZERO,
      `q2 <- ${word(root, 0)}`,
      'q1 <- 0x1800002',
      'q0 <- 0x48',
      'q0 <- 0x49',
    ])
  })

  it('a second stage has PGTT 010 and no page snoop: its leaves say so', () => {
    const { device, second, did } = setUp()
    const domain = second()
    const root = rootOf(domain)
    expect(did(RID_SLOT, () => device.set(RID_SLOT, domain, null))).toEqual([
      ...ZERO,
      'q1 <- 0x800002',
      `q0 <- ${word(root, 0x88)}`,
      `q0 <- ${word(root, 0x89)}`,
    ])
  })

  it('a nested domain has both tables, PGTT 011 and an id of its own', () => {
    const { host, device, did } = setUp()
    const parent = makeParent(host, device)
    device.set(RID_SLOT, parent, null)
    const user = makeUser(host, device, parent, 0x5000)
    expect(did(9, () => device.set(9, user, null))).toEqual([
      ...ZERO,
      'q2 <- 0x5000',
      'q1 <- 0x1800003',
      `q0 <- ${word(rootOf(parent), 0xc8)}`,
      `q0 <- ${word(rootOf(parent), 0xc9)}`,
    ])
  })

  it.each([
    ['nothing', 0n, 48, 0x5000],
    ['SRE', 1n, 48, 0x5001],
    ['EAFE', 2n, 48, 0x5080],
    ['SRE and WPE', 5n, 48, 0x5011],
    ['WPE without SRE, which is dropped', 4n, 48, 0x5000],
    ['all three', 7n, 48, 0x5091],
    ['five levels', 0n, 57, 0x5004],
    ['all three and five levels', 7n, 57, 0x5095],
  ] as const)('a nested domain with %s says so in the third word', (_, flags, addrWidth, third) => {
    const { host, device, tape } = setUp({ preset: 'vtd-scalable-57' })
    const data = givenData('vtd_s1', { flags, pgtblAddr: 0x5fffn, addrWidth })
    device.set(7, host.driver.createUserDomain(device, makeParent(host, device), data), null)
    expect(tape.words(tape.pasidEntry(RID, 7) + 16, 1)).toEqual([`0x${third.toString(16)}`])
  })

  it('the identity domain has PGTT 100 and domain-id 1, on any number of slots', () => {
    const { host, device, did } = setUp()
    const { identity } = host.driver
    const entry = [...ZERO, 'q1 <- 0x800001', 'q0 <- 0x108', 'q0 <- 0x109']
    expect(did(RID_SLOT, () => device.set(RID_SLOT, identity as never, null))).toEqual(entry)
    expect(did(4, () => device.set(4, identity as never, null))).toEqual(entry)
    // PC PASID 4 of DID 1; PIOTLB PASID 4 of DID 1.
    expect(did(4, () => device.clear(4, identity as never)).slice(1, 5)).toEqual([
      '0x400010017 0x0',
      'wait',
      '0x400010026 0x0',
      'wait',
    ])
  })

  it('a PASID that the device has not is EINVAL for every kind of domain', () => {
    const { host, device, plain } = setUp({}, 4)
    const parent = makeParent(host, device)
    for (const domain of [plain(), parent, makeUser(host, device, parent, 0x1000), host.driver.identity as never]) {
      expect(() => device.set(16, domain, null)).toThrow(/no such PASID/)
      device.set(15, domain, null)
      device.clear(15, domain)
    }
  })

  it.each(['first', 'second', 'nested'] as const)(
    'where caching mode may have kept an absent entry flushes the new id of a %s stage',
    (kind) => {
      const { host, device, plain, second, did } = setUp({ overrides: CACHING })
      const parent = makeParent(host, device)
      const domain = { first: plain, second, nested: () => makeUser(host, device, parent, 0x5000) }[kind]()
      const lines = did(6, () => device.set(6, domain, null))
      expect(lines.slice(-4)).toEqual(['0x600020017 0x0', 'wait', '0x600020026 0x0', 'wait'])
      expect(lines.filter((line) => line.startsWith('0x')).length).toBe(2)
    },
  )

  it('writes a directory entry once, and its table serves 64 PASIDs', () => {
    const { host, device, tape, plain } = setUp()
    const used = host.ram.usedBytes
    const domain = plain()
    for (const pasid of [64, 65, 127]) device.set(pasid, domain, null)
    expect(host.ram.usedBytes - used).toBe(2 * 4096)
    expect(tape.pasidEntry(RID, 127) - tape.pasidEntry(RID, 64)).toBe(63 * 64)
    expect(tape.pasidEntry(RID, 128)).toBe(0)
  })
})

describe('detaching', () => {
  it('a first stage clears P alone, forgets the entry, then PASID by PASID, then zeroes', () => {
    const { device, plain, did } = setUp()
    const domain = plain()
    device.set(5, domain, null)
    expect(did(5, () => device.clear(5, domain))).toEqual([
      'q0 <- 0x48',
      '0x500020017 0x0',
      'wait',
      '0x500020026 0x0',
      'wait',
      ...ZERO,
    ])
  })

  it.each(['second', 'nested'] as const)('a %s stage forgets the whole domain-id', (kind) => {
    const { host, device, second, did } = setUp()
    const parent = makeParent(host, device)
    const domain = kind === 'second' ? second() : makeUser(host, device, parent, 0x5000)
    device.set(5, domain, null)
    const lines = did(5, () => device.clear(5, domain))
    expect(lines.slice(1)).toEqual(['0x500020017 0x0', 'wait', '0x200e2 0x0', 'wait', ...ZERO])
  })

  it('asks only for the drains that the unit has', () => {
    // CAP without DWD (54) and DRD (55).
    const { device, second, did } = setUp({ overrides: { CAP: [0x226f0606, 0x8112078c] } })
    const domain = second()
    device.set(5, domain, null)
    expect(did(5, () => device.clear(5, domain))[3]).toBe('0x20022 0x0')
  })
})

describe('replacing', () => {
  it('on a RID gives up the old id first, and may get it again', () => {
    const { device, plain, did } = setUp()
    const [one, two] = [plain(), plain()]
    device.set(RID_SLOT, one, null)
    expect(did(RID_SLOT, () => device.set(RID_SLOT, two, one))).toEqual([
      'q0 <- 0x48',
      '0x20017 0x0',
      'wait',
      '0x20026 0x0',
      'wait',
      ...ZERO,
      ...ZERO,
      `q2 <- ${word(rootOf(two), 0)}`,
      'q1 <- 0x1800002',
      'q0 <- 0x48',
      'q0 <- 0x49',
    ])
    expect(device.lastSetWasHitless).toBe(false)
  })

  it('on a PASID takes the new id first, and flushes the old one', () => {
    const { host, device, plain, did } = setUp()
    const one = plain()
    const parent = makeParent(host, device)
    device.set(5, one, null)
    const lines = did(5, () => device.set(5, makeUser(host, device, parent, 0x5000), one))
    expect(lines.slice(0, 5)).toEqual(['q0 <- 0x48', '0x500020017 0x0', 'wait', '0x500020026 0x0', 'wait'])
    expect(lines.slice(-3)).toEqual([
      'q1 <- 0x1800003',
      `q0 <- ${word(rootOf(parent), 0xc8)}`,
      `q0 <- ${word(rootOf(parent), 0xc9)}`,
    ])
  })

  it('one nested domain by another of its parent takes two stores, with the entry present all the time', () => {
    const { host, device, did } = setUp()
    const parent = makeParent(host, device)
    const [one, two] = [makeUser(host, device, parent, 0x5000), makeUser(host, device, parent, 0x6000)]
    device.set(5, one, null)
    expect(did(5, () => device.set(5, two, one))).toEqual([
      'q1 <- 0x1800003',
      'q2 <- 0x6000',
      '0x500020017 0x0',
      'wait',
      '0x500030017 0x0',
      'wait',
      '0x200e2 0x0',
      'wait',
      '0x500030026 0x0',
      'wait',
    ])
    expect(device.lastSetWasHitless).toBe(true)
  })
})
