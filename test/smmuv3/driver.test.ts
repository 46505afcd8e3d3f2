import { beforeEach, describe, expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import type { PagingFlags, PagingOps } from '../../server/core/driver.js'
import { givenData } from '../../server/core/driver.js'
import { GUEST_RAM, PARENT, PASID, PLAIN, RW, refusal, World } from './world.js'

let world: World
beforeEach(() => {
  world = new World()
})

describe('a probed device', () => {
  it('is blocked without a record, with and without a PASID', () => {
    expect([world.dma(world.a, 0x1000n), world.dma(world.a, 0x1000n, 5)]).toEqual(['aborted', 'aborted'])
    expect(world.events).toEqual([])
  })

  it('has as many PASIDs as it and the unit can use', () => {
    expect([world.a.maxPasids, world.b.maxPasids]).toEqual([2 ** 20, 0])
  })

  it('is refused beyond the stream table, and twice', () => {
    const facts = { rid: 2 ** 16, pasidLg2: 0, ats: false, pri: false }
    expect(refusal(() => world.driver.probe(facts))).toBe('EINVAL')
    expect(refusal(() => world.driver.probe({ ...facts, rid: 8 }))).toBe('EEXIST')
  })
})

describe('a paging domain on a RID', () => {
  let domain: PagingOps
  beforeEach(() => {
    domain = world.driver.createPaging(world.a, PLAIN)
    domain.map(0x4000_0000n, GUEST_RAM, 0x4000_0000n, RW)
    domain.map(0x1000n, GUEST_RAM + 0x5000, 0x1000n, { read: true, write: false })
    world.a.set(0, domain, null)
  })

  it('translates pages and blocks, and keeps read-only what is', () => {
    expect(world.dma(world.a, 0x5234_5678n)).toBe('ok 10012345678')
    expect(world.dma(world.a, 0x1fffn)).toBe('ok 10000005fff')
    expect(world.dma(world.a, 0x1000n, -1, ACCESS.WRITE)).toBe('F_PERMISSION')
    expect(world.dma(world.a, 0x2000n)).toBe('F_TRANSLATION')
    expect(world.events.map(({ event, sid, device }) => [event, sid, device === world.a])).toEqual([
      [0x13, 8, true],
      [0x10, 8, true],
    ])
  })

  it('leaves what was unmapped in the TLB until it is flushed', () => {
    expect(world.dma(world.a, 0x1000n)).toBe('ok 10000005000')
    domain.unmap(0x1000n, 0x1000n)
    expect(world.dma(world.a, 0x1000n)).toBe('ok 10000005000')
    domain.flush()
    expect(world.dma(world.a, 0x1000n)).toBe('F_TRANSLATION')
    expect(world.dma(world.a, 0x4000_0000n)).toBe('ok 10000000000')
  })

  it.each([1, 2, 3, 31, 32, 33, 513, 1000])('flushes all of %i pages and no page beside them', (pages) => {
    const base = 0x10_0000_0000n
    const length = BigInt(pages) << 12n
    domain.map(base - 0x1000n, GUEST_RAM, 0x1000n, RW)
    domain.map(base, GUEST_RAM + 0x1000, length, RW)
    domain.map(base + length, GUEST_RAM, 0x1000n, RW)
    for (let i = -1; i <= pages; i++) expect(world.dma(world.a, base + BigInt(i) * 4096n)).toMatch(/^ok/)
    domain.unmap(base, length)
    domain.flush()
    for (let i = 0; i < pages; i++) expect(world.dma(world.a, base + BigInt(i) * 4096n)).toBe('F_TRANSLATION')
    const hits = world.driver.counters()['hits']
    expect(world.dma(world.a, base - 0x1000n)).toBe('ok 10000000000')
    expect(world.dma(world.a, base + length)).toBe('ok 10000000000')
    if (pages < 512) expect(world.driver.counters()['hits']).toBe(hits + 2)
  })

  it('shows what is mapped between an unmap and its flush, where the unmap took a table out', () => {
    domain.map(0x20_0000n, GUEST_RAM, 0x1000n, RW)
    expect(world.dma(world.a, 0x20_0000n)).toBe('ok 10000000000')
    domain.unmap(0x20_0000n, 0x1000n)
    domain.map(0x20_1000n, GUEST_RAM + 0x7000, 0x1000n, RW)
    expect(world.dma(world.a, 0x20_1000n)).toBe('ok 10000007000')
    domain.flush()
    expect(world.dma(world.a, 0x20_0000n)).toBe('F_TRANSLATION')
    expect(world.dma(world.a, 0x20_1000n)).toBe('ok 10000007000')
  })

  it('serves several devices at once, and is forgotten when the last one has gone', () => {
    world.b.set(0, domain, null)
    expect(world.dma(world.b, 0x1000n)).toBe('ok 10000005000')
    world.a.clear(0, domain)
    expect([world.dma(world.a, 0x1000n), world.dma(world.b, 0x1000n)]).toEqual(['aborted', 'ok 10000005000'])
    world.b.clear(0, domain)
    expect(world.dma(world.b, 0x1000n)).toBe('aborted')
  })

  it('gives back every table when it is destroyed', () => {
    const before = world.ram.usedBytes
    const other = world.driver.createPaging(world.a, PLAIN)
    other.map(0x1000n, GUEST_RAM, 0x1000n, RW)
    expect(other.tableBytes).toBe(4 * 4096)
    expect(world.ram.usedBytes).toBe(before + 4 * 4096)
    other.destroy()
    expect(world.ram.usedBytes).toBe(before)
  })

  it('is replaced by another', () => {
    const other = world.driver.createPaging(world.a, PLAIN)
    other.map(0x1000n, GUEST_RAM + 0x9000, 0x1000n, RW)
    world.a.set(0, other, domain)
    expect(world.dma(world.a, 0x1000n)).toBe('ok 10000009000')
  })

  it('is refused for a device behind another unit', () => {
    const elsewhere = new World()
    expect(refusal(() => elsewhere.a.set(0, domain, null))).toBe('EINVAL')
  })
})

describe('host-owned CD tables: paging domains on PASIDs', () => {
  const at = (frame: number): PagingOps => {
    const domain = world.driver.createPaging(world.a, PASID)
    domain.map(0x1000n, GUEST_RAM + frame * 4096, 0x1000n, RW)
    return domain
  }

  it('serve each PASID through its own tables, with the RID blocked or on stage 1', () => {
    const [one, two, rid] = [at(1), at(2), at(3)]
    world.a.set(5, one, null)
    world.a.set(0xfffff, two, null)
    expect(world.dma(world.a, 0x1000n, 5)).toBe('ok 10000001000')
    expect(world.dma(world.a, 0x1000n, 0xfffff)).toBe('ok 10000002000')
    expect(world.dma(world.a, 0x1000n)).toBe('F_STREAM_DISABLED')
    expect(world.dma(world.a, 0x1000n, 6)).toBe('C_BAD_CD')
    world.a.set(0, rid, null)
    expect([world.dma(world.a, 0x1000n), world.dma(world.a, 0x1000n, 5)]).toEqual(['ok 10000003000', 'ok 10000001000'])
    world.a.clear(0, rid)
    expect(world.dma(world.a, 0x1000n)).toBe('F_STREAM_DISABLED')
    world.a.clear(5, one)
    expect(world.dma(world.a, 0x1000n, 5)).toBe('C_BAD_CD')
    world.a.clear(0xfffff, two)
    expect(world.dma(world.a, 0x1000n, 5)).toBe('aborted')
  })

  it('keep stage 2 and user domains off the RID, and the other way round', () => {
    const pasid = at(1)
    const parent = world.driver.createPaging(world.a, PARENT)
    world.a.set(5, pasid, null)
    expect(refusal(() => world.a.set(0, parent, null))).toBe('EBUSY')
    world.a.clear(5, pasid)
    world.a.set(0, parent, null)
    expect(refusal(() => world.a.set(5, pasid, null))).toBe('EINVAL')
  })

  it('take neither a nesting parent nor a user domain nor a PASID that is not there', () => {
    const parent = world.driver.createPaging(world.a, PARENT)
    const viommu = world.driver.createViommu(world.a, parent)
    const user = viommu.createUserDomain(world.a, givenData('smmuv3_ste', { ste0: 1n, ste1: 0n }), { pasid: false })
    expect(refusal(() => world.a.set(5, parent, null))).toBe('EINVAL')
    expect(refusal(() => world.a.set(5, user, null))).toBe('EINVAL')
    expect(refusal(() => world.a.set(2 ** 20, at(1), null))).toBe('EINVAL')
    expect(refusal(() => world.b.set(1, at(1), null))).toBe('EINVAL')
  })
})

describe('making a paging domain', () => {
  it('is refused where the unit lacks what it needs', () => {
    const make = (flags: PagingFlags) => refusal(() => world.driver.createPaging(world.a, flags))
    expect(make({ ...PARENT, pasid: true })).toBe('EOPNOTSUPP')
    expect(make({ ...PARENT, dirtyTracking: true })).toBe('EOPNOTSUPP')
  })

  it('falls back on stage 2 where stage 1 is not offered', () => {
    const stageTwo = new World({ IDR0: PRESETS.default.IDR0 & ~0b10 })
    const domain = stageTwo.driver.createPaging(stageTwo.a, PLAIN)
    domain.map(0x1000n, GUEST_RAM, 0x1000n, { read: false, write: true })
    stageTwo.a.set(0, domain, null)
    expect(stageTwo.dma(stageTwo.a, 0x1000n, -1, ACCESS.WRITE)).toBe('ok 10000000000')
    expect(stageTwo.dma(stageTwo.a, 0x1000n)).toBe('F_PERMISSION')
    expect(refusal(() => stageTwo.driver.createPaging(stageTwo.a, PASID))).toBe('EOPNOTSUPP')
    expect(refusal(() => stageTwo.driver.createPaging(stageTwo.a, PARENT))).toBe('EOPNOTSUPP')
  })
})
