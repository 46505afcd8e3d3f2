import { describe, expect, it } from 'vitest'
import type { Memory } from '../../hw-model/memory/index.js'
import { CAP, ECAP, REGISTER } from '../../hw-model/vtd/index.js'
import { type Refusal, RID_SLOT } from '../../server/core/driver.js'
import type { VtdDriver } from '../../server/drivers/vtd/index.js'
import { CLIENT, dma, makeHost, NEST_PARENT, PLAIN } from './host.js'

const RW = { read: true, write: true }

/** The errno of a refusal. */
function refusalOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    return (error as Refusal).name
  }
  return 'none'
}

describe('a probed device', () => {
  it('has all of its DMA blocked and recorded', () => {
    const host = makeHost()
    const device = host.probe(0x0108)
    expect(dma(device, 0x1000n)).toBe('0x51 SPD.2')
    expect(dma(device, 0x1000n, 'w', 7)).toBe('0x51 SPD.2')
    expect(host.faults).toEqual([
      { rid: 0x0108, pasid: -1, reason: 0x51, lo: 0x1000, hi: 0, isWrite: false, isPrivileged: false },
      { rid: 0x0108, pasid: 7, reason: 0x51, lo: 0x1000, hi: 0, isWrite: true, isPrivileged: false },
    ])
  })

  it('is the only one of its source-id, whose tables no other takes over', () => {
    const host = makeHost()
    const device = host.probe(8)
    const domain = host.driver.createPaging(device, PLAIN)
    domain.map(0n, CLIENT, 0x1000n, RW)
    device.set(RID_SLOT, domain, null)
    expect(refusalOf(() => host.probe(8))).toBe('EEXIST')
    expect(dma(device, 0n)).toBe('0x100000000')
  })

  it('keeps reporting after more faults than the unit has records', () => {
    const host = makeHost()
    const device = host.probe(8)
    for (let i = 0; i < 50; i++) dma(device, 0x1000n)
    expect(host.faults.length).toBe(50)
  })

  it('offers the PASIDs that device and unit both have, and the reserved interrupt range', () => {
    const host = makeHost({}, 6)
    const device = host.probe(8)
    expect(device.maxPasids).toBe(64)
    expect(device.reserved).toEqual([{ kind: 'msi', start: 0xfee00000n, last: 0xfeefffffn }])
    expect(device.hwInfo).toEqual({ kind: 'vtd', flags: 1, cap: 0x81d2078c226f0606n, ecap: 0x13e99c84000fc3n })
  })
})

describe('a plain paging domain', () => {
  it('uses the first stage: half of 48 bits, 4 KiB to 1 GiB pages', () => {
    const host = makeHost()
    const domain = host.driver.createPaging(host.probe(8), PLAIN)
    expect(domain.aperture).toEqual({ start: 0n, last: 2n ** 47n - 1n })
    expect(domain.pageSizes).toBe(0x40201000n)
  })

  it('stays below MGAW too, which the first stage itself does not check', () => {
    // MGAW 40 bits, the highest of which is the sign.
    const host = makeHost({ overrides: { CAP: [0x22670606, 0x81d2078c] } })
    const domain = host.driver.createPaging(host.probe(8), PLAIN)
    expect(domain.aperture).toEqual({ start: 0n, last: 2n ** 39n - 1n })
  })

  it('refuses memory that stands beyond the host address width, whose address no entry can hold', () => {
    const host = makeHost({ overrides: { hawBits: 40 } })
    const domain = host.driver.createPaging(host.probe(8), PLAIN)
    const map = (address: number, length: bigint): string => refusalOf(() => domain.map(0n, address, length, RW))
    expect(map(2 ** 40 - 0x1000, 0x2000n)).toBe('EINVAL')
    expect(map(2 ** 40, 0x1000n)).toBe('EINVAL')
    expect(map(2 ** 40 - 0x1000, 0x1000n)).toBe('none')
  })

  it('translates on a RID and on PASIDs, and blocks again when cleared', () => {
    const host = makeHost()
    const device = host.probe(8)
    const domain = host.driver.createPaging(device, PLAIN)
    domain.map(0x10000n, CLIENT, 0x3000n, RW)
    device.set(RID_SLOT, domain, null)
    device.set(5, domain, null)
    expect(dma(device, 0x11234n, 'w')).toBe('0x100001234')
    expect(dma(device, 0x11234n, 'w', 5)).toBe('0x100001234')
    expect(dma(device, 0x11234n, 'w', 6)).toBe('0x59 SPT.2')
    device.clear(5, domain)
    expect(dma(device, 0x11234n, 'w', 5)).toBe('0x59 SPT.2')
    expect(dma(device, 0x11234n, 'w')).toBe('0x100001234')
    device.clear(RID_SLOT, domain)
    expect(dma(device, 0x11234n)).toBe('0x59 SPT.2')
  })

  it('refuses writes to read-only mappings', () => {
    const host = makeHost()
    const device = host.probe(8)
    const domain = host.driver.createPaging(device, PLAIN)
    domain.map(0x10000n, CLIENT, 0x1000n, { read: true, write: false })
    device.set(RID_SLOT, domain, null)
    expect(dma(device, 0x10000n)).toBe('0x100000000')
    expect(dma(device, 0x10000n, 'w')).toBe('0x85 SGN.6')
  })

  it('stays translated from the IOTLB between unmap and flush, and not after', () => {
    const host = makeHost()
    const device = host.probe(8)
    const domain = host.driver.createPaging(device, PLAIN)
    domain.map(0x10000n, CLIENT, 0x2000n, RW)
    device.set(RID_SLOT, domain, null)
    device.set(9, domain, null)
    expect(dma(device, 0x10000n)).toBe('0x100000000')
    expect(dma(device, 0x10000n, 'r', 9)).toBe('0x100000000')
    domain.unmap(0x10000n, 0x2000n)
    expect(dma(device, 0x10000n)).toBe('0x100000000')
    domain.flush()
    expect(dma(device, 0x10000n)).toBe('0x71 SFS.2')
    expect(dma(device, 0x10000n, 'r', 9)).toBe('0x71 SFS.2')
  })

  it('is replaced by another one without a stale translation', () => {
    const host = makeHost()
    const device = host.probe(8)
    const first = host.driver.createPaging(device, PLAIN)
    const second = host.driver.createPaging(device, PLAIN)
    first.map(0n, CLIENT, 0x1000n, RW)
    second.map(0n, CLIENT + 0x5000, 0x1000n, RW)
    device.set(RID_SLOT, first, null)
    expect(dma(device, 0n)).toBe('0x100000000')
    device.set(RID_SLOT, second, first)
    expect(dma(device, 0n)).toBe('0x100005000')
  })

  it('gives back all of its memory', () => {
    const host = makeHost()
    const device = host.probe(8)
    const empty = host.driver.createPaging(device, PLAIN)
    device.set(RID_SLOT, empty, null)
    device.clear(RID_SLOT, empty)
    empty.destroy()
    const used = host.ram.usedBytes
    const domain = host.driver.createPaging(device, PLAIN)
    domain.map(0n, CLIENT, 0x201000n, RW)
    device.set(RID_SLOT, domain, null)
    domain.unmap(0n, 0x201000n)
    domain.flush()
    device.clear(RID_SLOT, domain)
    domain.destroy()
    expect(host.ram.usedBytes).toBe(used)
  })
})

describe('a second-stage paging domain', () => {
  it('has the whole of 48 bits, and as a nesting parent takes no read-only mapping', () => {
    const host = makeHost()
    const device = host.probe(8)
    const parent = host.driver.createPaging(device, NEST_PARENT)
    expect(parent.aperture).toEqual({ start: 0n, last: 2n ** 48n - 1n })
    expect(refusalOf(() => parent.map(0n, CLIENT, 0x1000n, { read: true, write: false }))).toBe('EINVAL')
    parent.map(0xffff_ffff_f000n, CLIENT, 0x1000n, RW)
    device.set(RID_SLOT, parent, null)
    expect(dma(device, 0xffff_ffff_f008n, 'w')).toBe('0x100000008')
    parent.unmap(0xffff_ffff_f000n, 0x1000n)
    parent.flush()
    expect(dma(device, 0xffff_ffff_f008n, 'w')).toBe('0x79 SSS.2')
  })

  it('is what a unit in legacy mode has, without PASIDs', () => {
    const host = makeHost({ preset: 'vtd-legacy' })
    const device = host.probe(0x2ff)
    const domain = host.driver.createPaging(device, PLAIN)
    expect(dma(device, 0x1000n)).toBe('0x02 LCT.2')
    domain.map(0n, CLIENT, 0x200000n, RW)
    device.set(RID_SLOT, domain, null)
    expect(dma(device, 0x1234n, 'w')).toBe('0x100001234')
    domain.unmap(0n, 0x200000n)
    domain.flush()
    expect(dma(device, 0x1234n, 'w')).toBe('0x05 LGN.2')
    device.clear(RID_SLOT, domain)
    expect(dma(device, 0x1234n, 'w')).toBe('0x02 LCT.2')
    expect(refusalOf(() => device.set(5, domain, null))).toBe('EOPNOTSUPP')
    expect(refusalOf(() => host.driver.createPaging(device, NEST_PARENT))).toBe('EOPNOTSUPP')
  })

  it('is told to the unit page by page where caching mode asks for it, absent table entries included', () => {
    const [lo, hi] = [0x226f0686, 0x81d2078c]
    expect(CAP.CM.get(Int32Array.of(lo, hi), 0)).toBe(1)
    const host = makeHost({ overrides: { CAP: [lo, hi] } })
    const device = host.probe(8)
    const parent = host.driver.createPaging(device, NEST_PARENT)
    device.set(RID_SLOT, parent, null)
    expect(dma(device, 0x1000n)).toBe('0x79 SSS.2')
    parent.map(0x1000n, CLIENT, 0x1000n, RW)
    expect(dma(device, 0x1000n)).toBe('0x100000000')
    // The last descriptor before the wait: IOTLB, page-selective, IH 0.
    expect(lastQueued(host.driver, host.memory)).toEqual([0x2n | (3n << 4n), 0x1000n])
  })
})

/** Type, G, and the second word of the descriptor before the last one. */
function lastQueued({ unit }: VtdDriver, memory: Memory): [what: bigint, word1: bigint] {
  const [base, baseHigh] = unit.readRegister(REGISTER.IQA, 8)
  const [tail] = unit.readRegister(REGISTER.IQT, 8)
  const words = new Int32Array(4)
  memory.loadRecord(baseHigh * 2 ** 32 + (base & ~0xfff) + tail - 64, words, 0, 4)
  return [BigInt(words[0] & 0x3f), (BigInt(words[3] >>> 0) << 32n) | BigInt(words[2] >>> 0)]
}

describe('making a unit', () => {
  it('refuses one without an invalidation queue, which the driver needs', () => {
    expect(refusalOf(() => makeHost({ preset: 'vtd-legacy', overrides: { ECAP: [0xfc1, 0] } }))).toBe('EINVAL')
  })

  it.each([
    ['CAP.RWBF', { CAP: [0x226f0616, 0x81d2078c] }],
    ['CAP.MGAW', { CAP: [0x22500606, 0x81d2078c] }],
    ['CAP.SAGAW', { CAP: [0x226f1606, 0x81d2078c] }],
    ['CAP.FRO', { CAP: [0x026f0606, 0x81d2078c] }],
    ['ECAP.NEST needs ECAP.SSTS', { ECAP: [0x84000fc3, 0x0013a99c] }],
    ['ECAP.PRS', { ECAP: [0xa4000fc3, 0x0013e99c] }],
  ] as const)('refuses %s with EINVAL', (name, overrides) => {
    expect(() => makeHost({ overrides })).toThrow(name)
    expect(refusalOf(() => makeHost({ overrides }))).toBe('EINVAL')
  })

  it('takes the interrupt remapping bits of another unit and reads them as 0', () => {
    const host = makeHost({ preset: 'qemu-legacy' })
    expect(host.driver.hardware.ecapWord).toBe(0xf42n)
  })

  it('refuses a register that offers what the model lacks, and names the bit', () => {
    const words = Int32Array.of(0x84000fc3 | 0, 0x0013e99c)
    ECAP.VCS.set(words, 0, 1)
    expect(() => makeHost({ overrides: { ECAP: [words[0], words[1]] } })).toThrow(/ECAP\.VCS/)
  })
})
