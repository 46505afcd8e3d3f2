/**
 * Which descriptors a change of tables needs: one for each cache that may know of it. Words are spelled from the manual;
 * which ones they are is what Linux sends. [VTD 6.5.2.3, 6.5.2.4, 6.5.3.3 T28]
 */

import { describe, expect, it } from 'vitest'
import { type DomainOps, type PagingOps, RID_SLOT } from '../../server/core/driver.js'
import { blockAround, EVERY_PAGE } from '../../server/drivers/vtd/descriptors.js'
import { invalidateRanges } from '../given.js'
import { Tape } from './driver-tape.js'
import { CLIENT, makeHost, makeParent, makeUser, NEST_PARENT, PLAIN } from './host.js'

const MAX = 2n ** 64n - 1n
const RW = { read: true, write: true }
const CACHING = { CAP: [0x226f0686, 0x81d2078c] } as const

function setUp(options: Parameters<typeof makeHost>[0] = {}) {
  const host = makeHost(options)
  const [one, two] = [host.probe(0x10), host.probe(0x18)]
  const tape = new Tape(host)
  const sent = (run: () => void): string[] => {
    tape.clear()
    run()
    return tape.descriptors()
  }
  const unmap = (domain: PagingOps, iova: bigint, length: bigint): string[] =>
    sent(() => {
      domain.unmap(iova, length)
      domain.flush()
    })
  return { host, one, two, tape, sent, unmap }
}

describe('the block around a range of pages', () => {
  it.each([
    [0n, 0n, 0n, 0],
    [0n, 1n, 0n, 1],
    [1n, 2n, 0n, 2],
    [5n, 5n, 5n, 0],
    [2n, 4n, 0n, 3],
    [4n, 6n, 4n, 2],
    [7n, 8n, 0n, 4],
    [0x1ffn, 0x200n, 0n, 10],
    [0x7f12_3456_7n, 0x7f12_3456_8n, 0x7f12_3456_0n, 4],
    [2n ** 51n, 2n ** 52n - 1n, 2n ** 51n, 51],
    [2n ** 51n - 1n, 2n ** 51n, 0n, 52],
    [2n ** 52n - 1n, 2n ** 52n, 0n, 52],
  ])('%d to %d is 2^AM pages at an address that is aligned to them', (first, last, page, am) => {
    expect(blockAround(first, last)).toEqual({ page, am })
    expect(blockAround(first, last) === EVERY_PAGE).toBe(am === 52)
  })
})

describe('unmapping from a first stage', () => {
  it('names (domain-id, PASID) once, however many devices have it', () => {
    const { host, one, two, unmap } = setUp()
    const domain = host.driver.createPaging(one, PLAIN)
    domain.map(0n, CLIENT, 0x10_0000n, RW)
    one.set(RID_SLOT, domain, null)
    one.set(5, domain, null)
    two.set(5, domain, null)
    expect(unmap(domain, 0x3000n, 0x1000n)).toEqual(['0x20036 0x3040', '0x500020036 0x3040'])
    one.clear(5, domain)
    expect(unmap(domain, 0x4000n, 0x1000n)).toEqual(['0x20036 0x4040', '0x500020036 0x4040'])
    two.clear(5, domain)
    expect(unmap(domain, 0x5000n, 0x1000n)).toEqual(['0x20036 0x5040'])
    one.clear(RID_SLOT, domain)
    expect(unmap(domain, 0x6000n, 0x1000n)).toEqual([])
  })

  it('takes the hint of leaves away where a table was emptied', () => {
    const { host, one, unmap } = setUp()
    const domain = host.driver.createPaging(one, PLAIN)
    domain.map(0n, CLIENT, 0x2000n, RW)
    domain.map(0x40_0000n, CLIENT, 0x2000n, RW)
    one.set(5, domain, null)
    expect(unmap(domain, 0x40_0000n, 0x1000n)).toEqual(['0x500020036 0x400040'])
    expect(unmap(domain, 0x40_1000n, 0x1000n)).toEqual(['0x500020036 0x401000'])
  })

  it('knows no largest block: AM may be above MAMV', () => {
    const { host, one, unmap } = setUp()
    const domain = host.driver.createPaging(one, PLAIN)
    domain.map(0n, CLIENT, 0x20_1000n, RW)
    domain.map(0x10_0000_0000n, CLIENT, 0x1000n, RW)
    one.set(5, domain, null)
    // 0x20_0000 and 0x10_0000_0000 differ in page bit 24: 2^25 pages, AM 0x19. Tables were emptied.
    domain.unmap(0x20_0000n, 0x1000n)
    expect(unmap(domain, 0x10_0000_0000n, 0x1000n)).toEqual(['0x500020036 0x19'])
  })
})

describe('unmapping from a second stage', () => {
  it('names its own id and those of the domains nested on it', () => {
    const { host, one, two, unmap } = setUp()
    const parent = host.driver.createPaging(one, NEST_PARENT)
    parent.map(0n, CLIENT, 0x10_0000n, RW)
    const [a, b] = [makeUser(host, one, parent, 0x1000), makeUser(host, one, parent, 0x2000)]
    expect(unmap(parent, 0x1_0000n, 0x1000n)).toEqual([])
    one.set(RID_SLOT, parent, null)
    one.set(5, a, null)
    two.set(6, b, null)
    // Page-selective, IH in bit 6.
    expect(unmap(parent, 0x2_0000n, 0x2000n)).toEqual(['0x200f2 0x20041', '0x300f2 0x20041', '0x400f2 0x20041'])
    one.clear(5, a)
    expect(unmap(parent, 0x3_0000n, 0x1000n)).toEqual(['0x200f2 0x30040', '0x400f2 0x30040'])
    two.clear(6, b)
    one.clear(RID_SLOT, parent)
    expect(unmap(parent, 0x4_0000n, 0x1000n)).toEqual([])
  })

  it('names an id once for each PASID that it is attached to', () => {
    const { host, one, unmap } = setUp()
    const parent = makeParent(host, one)
    const user = makeUser(host, one, parent, 0x1000)
    for (const pasid of [RID_SLOT, 5, 6]) one.set(pasid, user, null)
    expect(unmap(parent, 0n, 64n * 2n ** 20n)).toEqual(['0x200f2 0xe', '0x200f2 0xe', '0x200f2 0xe'])
  })

  it('is a flush of the whole id on a unit without page-selective invalidation', () => {
    // CAP without PSI, bit 39.
    const { host, one, unmap } = setUp({ overrides: { CAP: [0x226f0606, 0x81d2070c] } })
    const parent = makeParent(host, one)
    one.set(RID_SLOT, parent, null)
    expect(unmap(parent, 0n, 64n * 2n ** 20n)).toEqual(['0x200e2 0x0'])
  })
})

describe('mapping', () => {
  it('sends nothing without caching mode, and nothing for a first stage with it', () => {
    const plain = setUp()
    const parent = plain.host.driver.createPaging(plain.one, NEST_PARENT)
    plain.one.set(RID_SLOT, parent, null)
    expect(plain.sent(() => parent.map(0n, CLIENT, 0x1000n, RW))).toEqual([])
    const caching = setUp({ overrides: CACHING })
    const domain = caching.host.driver.createPaging(caching.one, PLAIN)
    caching.one.set(RID_SLOT, domain, null)
    expect(caching.sent(() => domain.map(0n, CLIENT, 0x1000n, RW))).toEqual([])
  })

  it('into a second stage names every id that uses it, without the hint, where caching mode keeps absent entries', () => {
    const { host, one, sent } = setUp({ overrides: CACHING })
    const parent = makeParent(host, one)
    one.set(RID_SLOT, parent, null)
    one.set(5, makeUser(host, one, parent, 0x1000), null)
    const lines = sent(() => parent.map(0x8000_0000n, CLIENT, 0x3000n, RW))
    expect(lines).toEqual(['0x200f2 0x80000002', '0x300f2 0x80000002'])
  })
})

describe('a flush of many', () => {
  /** A domain on PASIDs 1 to n. */
  function spread(n: number) {
    const { host, one, tape, unmap } = setUp()
    const domain = host.driver.createPaging(one, PLAIN)
    domain.map(0n, CLIENT, 0x2000n, RW)
    for (let pasid = 1; pasid <= n; pasid++) one.set(pasid, domain, null)
    unmap(domain, 0n, 0x1000n)
    return tape.lines(0, 0)
  }

  it('has a wait behind every sixteen', () => {
    const lines = spread(20)
    expect(lines.length).toBe(22)
    expect([lines[16], lines[21]]).toEqual(['wait', 'wait'])
    expect(lines[20]).toBe('0x1400020036 0x40')
  })

  it('beyond 256 forgets the domain-id', () => {
    expect(spread(256).length).toBe(272)
    expect(spread(257)).toEqual(['0x200e2 0x0', 'wait'])
  })

  it('beyond 256 is as short for new mappings under caching mode', () => {
    const { host, one, sent } = setUp({ overrides: CACHING })
    const parent = host.driver.createPaging(one, NEST_PARENT)
    const user = makeUser(host, one, parent, 0x1000)
    const map = (page: number): string[] => sent(() => parent.map(BigInt(page) << 12n, CLIENT, 0x1000n, RW))
    for (let pasid = 1; pasid <= 256; pasid++) one.set(pasid, user, null)
    expect(map(0).length).toBe(256)
    one.set(257, user, null)
    expect(map(1)).toEqual(['0x200e2 0x0'])
  })

  it('beyond 256 domain-ids forgets everything', () => {
    const { host, one, unmap } = setUp()
    const parent = makeParent(host, one)
    const attach = (pasid: number) => one.set(pasid, makeUser(host, one, parent, 0x1000), null)
    for (let pasid = 1; pasid <= 256; pasid++) attach(pasid)
    const each = unmap(parent, 0n, 64n * 2n ** 20n)
    expect([each.length, each[255]]).toEqual([256, '0x10100f2 0xe'])
    attach(257)
    parent.map(0n, CLIENT, 0x1000n, RW)
    expect(unmap(parent, 0n, 0x1000n)).toEqual(['0xd2 0x0'])
  })
})

describe('a client’s invalidation', () => {
  function nested(slots: readonly number[]) {
    const { host, one, sent } = setUp()
    const user = makeUser(host, one, makeParent(host, one), 0x1000)
    for (const slot of slots) one.set(slot, user, null)
    return (addr: bigint, npages: bigint, flags = 0): string[] =>
      sent(() => {
        const result = invalidateRanges(user, [{ addr, npages, flags }])
        expect(result).toMatchObject({ done: 1, refusal: undefined })
      })
  }

  it('is the page form for each PASID, with the hint for leaves', () => {
    const invalidate = nested([RID_SLOT, 5])
    expect(invalidate(0x7f12_3456_7000n, 1n, 1)).toEqual(['0x20036 0x7f1234567040', '0x500020036 0x7f1234567040'])
    expect(invalidate(0x7f12_3456_7000n, 1n)).toEqual(['0x20036 0x7f1234567000', '0x500020036 0x7f1234567000'])
  })

  it('is widened to an aligned block', () => {
    const invalidate = nested([5])
    expect(invalidate(0x3000n, 3n)).toEqual(['0x500020036 0x3'])
    expect(invalidate(0x4000n, 3n)).toEqual(['0x500020036 0x4002'])
    expect(invalidate(0x20_0000n, 512n, 1)).toEqual(['0x500020036 0x200049'])
    // The last page of all.
    expect(invalidate(MAX - 0xfffn, 1n)).toEqual(['0x500020036 0xfffffffffffff000'])
  })

  it('of everything is the PASID form, without hint', () => {
    const invalidate = nested([5])
    expect(invalidate(0n, MAX, 1)).toEqual(['0x500020026 0x0'])
    expect(invalidate(0n, 2n ** 52n - 1n)).toEqual(['0x500020026 0x0'])
    // Over the end, and around the middle.
    expect(invalidate(MAX - 0xfffn, 2n)).toEqual(['0x500020026 0x0'])
    expect(invalidate(2n ** 63n - 0x1000n, 2n)).toEqual(['0x500020026 0x0'])
  })

  it('counts bytes in 64 bits: 2^52 pages are none, which at address 0 means everything', () => {
    const invalidate = nested([5])
    expect(invalidate(0n, 0n)).toEqual(['0x500020026 0x0'])
    expect(invalidate(0n, 2n ** 52n)).toEqual(['0x500020026 0x0'])
    expect(invalidate(0x1000n, 0n)).toEqual([])
    expect(invalidate(0x1000n, 2n ** 52n)).toEqual([])
    expect(invalidate(0x1000n, 2n ** 52n + 1n)).toEqual(['0x500020036 0x1000'])
  })

  it('is done in steps of 64 descriptors, and each entry by itself, however many there are', () => {
    const { host, one, sent } = setUp()
    const user = makeUser(host, one, makeParent(host, one), 0x1000)
    const pages = (n: number) => Array.from({ length: n }, (_, i) => ({ addr: BigInt(i) << 12n, npages: 1n, flags: 1 }))
    const invalidate = (n: number, done: number): string[] =>
      sent(() => {
        const result = invalidateRanges(user, pages(n))
        expect(result).toMatchObject({ done, refusal: undefined })
      })
    for (let pasid = 1; pasid <= 30; pasid++) one.set(pasid, user, null)
    const two = invalidate(17, 2)
    expect([two.length, two[0], two[30], two[59]]).toEqual([
      60,
      '0x100020036 0x40',
      '0x100020036 0x1040',
      '0x1e00020036 0x1040',
    ])
    for (let pasid = 31; pasid <= 256; pasid++) one.set(pasid, user, null)
    const all = invalidate(17, 1)
    expect([all.length, all[0], all[255]]).toEqual([256, '0x100020036 0x40', '0x10000020036 0x40'])
    one.set(257, user, null)
    expect(invalidate(17, 1)).toEqual(['0x200e2 0x0'])
  })

  it('that cannot be carried out is found in the step that it belongs to', () => {
    const { host, one } = setUp()
    const user = makeUser(host, one, makeParent(host, one), 0x1000)
    for (let pasid = 1; pasid <= 64; pasid++) one.set(pasid, user, null)
    const [good, bad] = [0n, 1n].map((addr) => ({ addr, npages: 1n, flags: 0 }))
    const first = invalidateRanges(user, [good, bad])
    expect(first).toMatchObject({ done: 1, refusal: undefined })
    const second = invalidateRanges(user, [bad])
    expect([second?.done, second?.refusal?.name]).toEqual([0, 'EINVAL'])
  })

  it('of a domain that is attached nowhere sends nothing and succeeds', () => {
    expect(nested([])(0n, MAX)).toEqual([])
  })
})

describe('nesting', () => {
  it('gives a parent nothing of its own to flush when a child invalidates', () => {
    const { host, one, sent } = setUp()
    const parent = makeParent(host, one)
    const user = makeUser(host, one, parent, 0x1000)
    one.set(RID_SLOT, parent as DomainOps, null)
    one.set(5, user, null)
    const entries = [{ addr: 0n, npages: 1n, flags: 0 }]
    expect(sent(() => invalidateRanges(user, entries))).toEqual(['0x500030036 0x0'])
  })
})
