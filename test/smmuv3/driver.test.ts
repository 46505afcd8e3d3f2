import { beforeEach, describe, expect, it } from 'vitest'
import { SparseBacking } from '../../hw-model/memory/backing.js'
import { Memory } from '../../hw-model/memory/memory.js'
import { ACCESS, Outcome, STATUS } from '../../hw-model/port.js'
import { type IdOverrides, PRESETS } from '../../hw-model/smmuv3/index.js'
import type {
  DeviceDriver,
  DomainOps,
  PagingFlags,
  PagingOps,
  Refusal,
  SmmuCommand,
  ViommuOps,
} from '../../server/core/driver.js'
import { HostRam } from '../../server/drivers/host-ram.js'
import { createSmmuV3Driver, type SmmuEvent, type SmmuV3Driver } from '../../server/drivers/smmuv3/index.js'

const RW = { read: true, write: true }
const GUEST_RAM = 2 ** 40
const PLAIN: PagingFlags = { nestParent: false, dirtyTracking: false, pasid: false }
const PARENT: PagingFlags = { ...PLAIN, nestParent: true }
const PASID: PagingFlags = { ...PLAIN, pasid: true }

/** A host with one unit, two devices, and RAM of a guest at 2^40. */
class World {
  readonly memory = new Memory()
  readonly ram: HostRam
  readonly driver: SmmuV3Driver
  readonly events: SmmuEvent[] = []
  readonly a: DeviceDriver
  readonly b: DeviceDriver

  constructor(overrides: IdOverrides = {}) {
    this.ram = new HostRam(this.memory, 2 ** 33, 2 ** 30)
    this.memory.place(GUEST_RAM, new SparseBacking(2 ** 30))
    this.driver = createSmmuV3Driver({
      name: 'smmu0',
      memory: this.memory,
      ram: this.ram,
      overrides,
      onEvent: (event) => this.events.push(event),
    })
    this.a = this.driver.probe({ rid: 8, pasidLg2: 20, ats: false, pri: false })
    this.b = this.driver.probe({ rid: 0x1234, pasidLg2: 0, ats: false, pri: false })
  }

  poke(address: number, word: bigint): void {
    this.memory.storeWord(address, Number(BigInt.asIntN(32, word)), Number(BigInt.asIntN(32, word >> 32n)))
  }

  dma(device: DeviceDriver, address: bigint, pasid = -1, access: number = ACCESS.READ): string {
    const out = new Outcome()
    device.port.translate(pasid, Number(address & 0xffffffffn), Number(address >> 32n), access, out)
    if (out.status === STATUS.OK) return `ok ${out.address.toString(16)}`
    return out.status === STATUS.ABORTED ? 'aborted' : device.port.faultName(out.fault)
  }
}

/** The errno of a refusal. */
function refusal(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    return (error as Refusal).name
  }
  return 'no refusal'
}

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
    const viommu = world.driver.createViommu(world.a, parent, 1)
    const user = viommu.createUserDomain(world.a, { kind: 'smmuv3_ste', ste0: 1n, ste1: 0n })
    expect(refusal(() => world.a.set(5, parent, null))).toBe('EINVAL')
    expect(refusal(() => world.a.set(5, user, null))).toBe('EINVAL')
    expect(refusal(() => world.a.set(2 ** 20, at(1), null))).toBe('EINVAL')
    expect(refusal(() => world.b.set(1, at(1), null))).toBe('EINVAL')
  })
})

describe('making a paging domain', () => {
  it('is refused where the unit lacks what it needs', () => {
    const make = (flags: PagingFlags) => refusal(() => world.driver.createPaging(world.a, flags))
    expect(make({ ...PLAIN, dirtyTracking: true })).toBe('EOPNOTSUPP')
    expect(make({ ...PARENT, pasid: true })).toBe('EOPNOTSUPP')
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

describe('a user domain', () => {
  const IPA = 0x4000_0000n
  const CDS = 0x10_0000
  const VSID = 77n
  let parent: PagingOps
  let viommu: ViommuOps
  const ste = (ste0: bigint, ste1 = 0n) => viommu.createUserDomain(world.a, { kind: 'smmuv3_ste', ste0, ste1 })
  /** Stage 1, 8 CDs, linear, SSID 0 without a PASID. */
  const translating = (): DomainOps => ste((3n << 59n) | (IPA + BigInt(CDS)) | 0xbn, 2n)

  beforeEach(() => {
    parent = world.driver.createPaging(world.a, PARENT)
    parent.map(IPA, GUEST_RAM, 0x4000_0000n, RW)
    viommu = world.driver.createViommu(world.a, parent, 1)
    // The guest's tables: CD 0 and CD 3 map VA 0x1000 to different pages.
    for (const [index, frame] of [
      [0, 0x700000n],
      [3, 0x900000n],
    ] as const) {
      const tables = 0x200000 + index * 0x10000
      for (let level = 0; level < 3; level++) {
        world.poke(GUEST_RAM + tables + level * 4096, IPA + BigInt(tables + (level + 1) * 4096) + 3n)
      }
      world.poke(GUEST_RAM + tables + 3 * 4096 + 8, (IPA + frame) | 0xf43n)
      world.poke(GUEST_RAM + CDS + index * 64, 0x0000_e205_c000_3510n | (BigInt(index + 1) << 48n))
      world.poke(GUEST_RAM + CDS + index * 64 + 8, IPA + BigInt(tables))
    }
  })

  it("walks the guest's CD table and tables through the parent, for the RID and every PASID", () => {
    viommu.addVdevice(world.a, VSID)
    world.a.set(0, translating(), null)
    expect(world.dma(world.a, 0x1234n)).toBe('ok 10000700234')
    expect(world.dma(world.a, 0x1234n, 3)).toBe('ok 10000900234')
    expect(world.dma(world.a, 0x1234n, 2)).toBe('C_BAD_CD')
    expect(world.dma(world.a, 0x5000n)).toBe('F_TRANSLATION')
    expect(world.events.map(({ event, virtual, isStageTwo }) => [event, virtual?.virtId, isStageTwo])).toEqual([
      [0x0a, VSID, false],
      [0x10, VSID, false],
    ])
  })

  it('that translates is refused without a vDEVICE; bypass and abort are not', () => {
    expect(refusal(() => world.a.set(0, translating(), null))).toBe('ENOENT')
    const bypass = ste(9n)
    world.a.set(0, bypass, null)
    expect(world.dma(world.a, IPA + 0x10n)).toBe('ok 10000000010')
    world.a.set(0, ste(1n), bypass)
    expect(world.dma(world.a, IPA)).toBe('aborted')
    expect(world.events).toEqual([])
  })

  it('is changed hitlessly where one 64-bit word makes the difference', () => {
    viommu.addVdevice(world.a, VSID)
    const first = translating()
    world.a.set(0, first, null)
    const moved = ste((3n << 59n) | (IPA + BigInt(CDS) + 0x1000n) | 0xbn, 2n)
    world.a.set(0, moved, first)
    expect((world.a as unknown as { lastSetWasHitless: boolean }).lastSetWasHitless).toBe(true)
    expect(world.dma(world.a, 0x1000n)).toBe('C_BAD_CD')
  })

  it.each([
    ['MEV', 1n, 1n << 19n],
    ['STRW', 1n, 1n << 30n],
    ['SHCFG', 1n, 1n << 44n],
    ['CONT', 1n, 1n << 13n],
    ['S2FWB', 1n, 1n << 25n],
    ['Config', 0xdn, 0n],
    ['Config', 0xfn, 0n],
    ['EATS', 0xbn, 2n << 28n],
    ['S1ContextPtr', 1n | (1n << 55n), 0n],
    ['reserved', 1n | (1n << 56n), 0n],
  ])('is EIO for %s, which is named', (field, ste0, ste1) => {
    try {
      ste(ste0, ste1)
      expect.unreachable()
    } catch (error) {
      expect([(error as Refusal).name, (error as Refusal).context['field']]).toEqual(['EIO', field])
    }
  })

  it('takes anything where V is 0, and aborts', () => {
    world.a.set(0, ste(0xfffffffffffffffen, 0xffffffffffffffffn), null)
    expect(world.dma(world.a, IPA)).toBe('aborted')
  })

  it("is not made on a parent, nor of another architecture's words", () => {
    expect(refusal(() => world.driver.createUserDomain())).toBe('EOPNOTSUPP')
    const vtd = { kind: 'vtd_s1', flags: 0n, pgtblAddr: 0n, addrWidth: 48 } as const
    expect(refusal(() => viommu.createUserDomain(world.a, vtd))).toBe('EINVAL')
  })

  it('drops what the parent unmaps, combined or not', () => {
    viommu.addVdevice(world.a, VSID)
    parent.map(0x2000n, GUEST_RAM, 0x1000n, RW)
    world.a.set(0, translating(), null)
    world.poke(GUEST_RAM + 0x203000 + 16, 0x2000n | 0xf43n)
    expect(world.dma(world.a, 0x2008n)).toBe('ok 10000000008')
    parent.unmap(0x2000n, 0x1000n)
    expect(world.dma(world.a, 0x2008n)).toBe('ok 10000000008')
    parent.flush()
    expect(world.dma(world.a, 0x2008n)).toBe('F_TRANSLATION')
    expect(world.events[0].isStageTwo).toBe(true)
  })

  describe('is invalidated through the vIOMMU:', () => {
    const commands = (...list: [bigint, bigint][]): SmmuCommand[] => list.map(([dw0, dw1]) => ({ dw0, dw1 }))
    const invalidate = (...list: [bigint, bigint][]) =>
      viommu.invalidate({ kind: 'smmuv3', commands: commands(...list) })

    beforeEach(() => {
      viommu.addVdevice(world.a, VSID)
      world.a.set(0, translating(), null)
      expect(world.dma(world.a, 0x1000n)).toBe('ok 10000700000')
      world.poke(GUEST_RAM + 0x203008, (IPA + 0xa00000n) | 0xf43n)
      expect(world.dma(world.a, 0x1000n)).toBe('ok 10000700000')
    })

    it.each([
      ['NH_ALL', 0x0000_ffff_0000_0010n, 0n, true],
      ['NSNH_ALL', 0x30n, 0n, true],
      ['NH_ASID', 0x0001_0000_0000_0011n, 0n, true],
      ['NH_ASID of another ASID', 0x0002_0000_0000_0011n, 0n, false],
      ['NH_VA with a foreign VMID', 0x0001_0063_0000_0012n, 0x1000n, true],
      ['NH_VAA', 0x13n, 0x1001n, true],
      ['CFGI_CD_ALL', 0x0000_004d_0000_0006n, 0n, false],
      ['ATC_INV', 0x0000_004d_0000_0040n, 0x34n, false],
    ] as [string, bigint, bigint, boolean][])('%s', (_name, dw0, dw1, fresh) => {
      expect(invalidate([dw0, dw1]).done).toBe(1)
      expect(world.dma(world.a, 0x1000n)).toBe(fresh ? 'ok 10000a00000' : 'ok 10000700000')
    })

    it("CFGI_CD of the guest's own StreamID", () => {
      world.poke(GUEST_RAM + CDS + 8, IPA + 0x230000n)
      expect(invalidate([0x0000_004d_0000_0005n, 1n], [0x30n, 0n]).done).toBe(2)
      expect(world.dma(world.a, 0x1000n)).toBe('ok 10000900000')
    })

    it.each([
      ['an unknown vSID', 0x0000_0008_0000_0005n, 0n],
      ['CFGI_STE', 0x0000_004d_0000_0003n, 0n],
      ['S2_IPA', 0x2an, 0n],
      ['SYNC', 0x46n, 0n],
      ['the reserved range code', 0x12n, 0x400n],
      ['SSec', 0x410n, 0n],
    ] as [string, bigint, bigint][])('%s is EIO, after what came before it', (_name, dw0, dw1) => {
      const result = invalidate([0x10n, 0n], [dw0, dw1], [0x10n, 0n])
      expect([result.done, result.refusal?.name]).toEqual([1, 'EIO'])
      expect(world.dma(world.a, 0x1000n)).toBe('ok 10000a00000')
    })

    it("an empty array and another architecture's entries are EINVAL", () => {
      expect(refusal(() => invalidate())).toBe('EINVAL')
      expect(refusal(() => viommu.invalidate({ kind: 'vtd_s1', entries: [] }))).toBe('EINVAL')
    })

    it('a removed vDEVICE is unknown again', () => {
      viommu.removeVdevice(world.a)
      expect(invalidate([0x0000_004d_0000_0006n, 0n]).refusal?.name).toBe('EIO')
    })
  })
})

describe('a vIOMMU', () => {
  it('needs S2FWB, type 1, and a nesting parent of the same unit', () => {
    const parent = world.driver.createPaging(world.a, PARENT)
    const plain = world.driver.createPaging(world.a, PLAIN)
    expect(refusal(() => world.driver.createViommu(world.a, parent, 2))).toBe('EOPNOTSUPP')
    expect(refusal(() => world.driver.createViommu(world.a, plain, 1))).toBe('EINVAL')
    const other = new World()
    expect(refusal(() => other.driver.createViommu(other.a, parent, 1))).toBe('EINVAL')
    const bare = new World({ IDR3: 0x1414 })
    const bareParent = bare.driver.createPaging(bare.a, PARENT)
    expect(refusal(() => bare.driver.createViommu(bare.a, bareParent, 1))).toBe('EOPNOTSUPP')
  })
})
