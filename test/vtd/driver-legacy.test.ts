/** Legacy mode: the stores into context entries and their descriptors, as Linux has them; and how a unit is started. */

import { describe, expect, it } from 'vitest'
import { REGISTER, VtdUnit } from '../../hw-model/vtd/index.js'
import { type DomainOps, type Refusal, RID_SLOT } from '../../server/core/driver.js'
import { Tape } from './driver-tape.js'
import { CLIENT, dma, makeHost, PLAIN } from './host.js'

const RID = 0x02ff
const LEGACY = 'vtd-legacy'
/** The registers of legacy mode with CM, bit 7. */
const CACHING = { CAP: [0x226f0686, 0x80d2078c] } as const

function setUp(options: Parameters<typeof makeHost>[0] = {}) {
  const host = makeHost({ preset: LEGACY, ...options })
  const device = host.probe(RID)
  const tape = new Tape(host)
  const did = (run: () => void): string[] => {
    tape.clear()
    run()
    return tape.lines(tape.legacyContext(RID), 16)
  }
  const domain = host.driver.createPaging(device, PLAIN)
  const root = (domain as unknown as { root: number }).root
  return { host, device, tape, did, domain, root }
}

const ZERO = ['q0 <- 0x0', 'q1 <- 0x0']
const word = (root: number, bits: number): string => `0x${(BigInt(root) | BigInt(bits)).toString(16)}`

describe('in legacy mode', () => {
  it('attaching fills the context entry from its end and sets P last', () => {
    const { device, did, domain, root } = setUp()
    // DID in bits 87:72, AW 2 in 66:64; TT 00.
    expect(did(() => device.set(RID_SLOT, domain, null))).toEqual([
      ...ZERO,
      'q1 <- 0x202',
      `q0 <- ${word(root, 0)}`,
      `q0 <- ${word(root, 1)}`,
    ])
  })

  it('attaching flushes the absent entry of domain-id 0 where caching mode may have kept it', () => {
    const { device, did, domain } = setUp({ overrides: CACHING })
    const lines = did(() => device.set(RID_SLOT, domain, null))
    expect(lines.slice(-4)).toEqual(['0x2ff00000031 0x0', 'wait', '0x200e2 0x0', 'wait'])
  })

  it('detaching clears P, forgets the entry by its id, then the id, then zeroes', () => {
    const { device, did, domain, root } = setUp()
    device.set(RID_SLOT, domain, null)
    expect(did(() => device.clear(RID_SLOT, domain))).toEqual([
      `q0 <- ${word(root, 0)}`,
      '0x2ff00020031 0x0',
      'wait',
      '0x200e2 0x0',
      'wait',
      ...ZERO,
    ])
  })

  it('replacing goes through an absent entry', () => {
    const { host, device, did, domain } = setUp()
    const next = host.driver.createPaging(device, PLAIN)
    device.set(RID_SLOT, domain, null)
    const lines = did(() => device.set(RID_SLOT, next, domain))
    expect(lines.slice(1, 5)).toEqual(['0x2ff00020031 0x0', 'wait', '0x200e2 0x0', 'wait'])
    expect(lines.at(-1)).toBe(`q0 <- ${word((next as unknown as { root: number }).root, 1)}`)
    expect(device.lastSetWasHitless).toBe(false)
  })

  it('the identity domain is TT 10, domain-id 1 and the widest AW', () => {
    const { host, device, did } = setUp()
    const identity = host.driver.identity as unknown as DomainOps
    const lines = did(() => device.set(RID_SLOT, identity, null))
    expect(lines).toEqual([...ZERO, 'q1 <- 0x102', 'q0 <- 0x8', 'q0 <- 0x9'])
    expect(dma(device, BigInt(CLIENT) + 8n, 'w')).toBe('0x100000008')
    device.clear(RID_SLOT, identity)
    expect(dma(device, BigInt(CLIENT) + 8n, 'w')).toBe('0x02 LCT.2')
  })

  it('the identity domain is EOPNOTSUPP on a unit without pass-through', () => {
    // ECAP without PT, bit 6.
    const { host, device } = setUp({ overrides: { ECAP: [0xf83, 0] } })
    const attach = () => device.set(RID_SLOT, host.driver.identity as unknown as DomainOps, null)
    expect(attach).toThrow(/ECAP\.PT/)
  })

  it('unmapping names the block of pages, or the domain where it is larger than MAMV', () => {
    const { device, tape, domain } = setUp()
    device.set(RID_SLOT, domain, null)
    const unmapped = (iova: bigint, length: bigint): string[] => {
      domain.map(iova, CLIENT, length, { read: true, write: true })
      tape.clear()
      domain.unmap(iova, length)
      domain.flush()
      return tape.descriptors()
    }
    domain.map(0n, CLIENT, 0x1000n, { read: true, write: true })
    domain.map(0x4000_0000n, CLIENT, 0x1000n, { read: true, write: true })
    // IH (bit 6) while no table was emptied; AM 1 around pages 2 and 3; AM 3 around pages 3 to 5.
    expect(unmapped(0x2000n, 0x2000n)).toEqual(['0x200f2 0x2041'])
    expect(unmapped(0x3000n, 0x3000n)).toEqual(['0x200f2 0x43'])
    // A table of 2 MiB is emptied: IH 0.
    expect(unmapped(0x4020_0000n, 0x1000n)).toEqual(['0x200f2 0x40200000'])
    // MAMV 18 is 1 GiB; two pages on both sides of it need 2 GiB.
    expect(unmapped(0x3fff_f000n, 0x2000n)).toEqual(['0x200e2 0x0'])
  })

  it('a PASID is refused, and so is a parent for nesting', () => {
    const { host, device, domain } = setUp()
    const nameOf = (run: () => unknown): string => {
      try {
        run()
      } catch (error) {
        return (error as Refusal).name
      }
      return 'none'
    }
    expect(nameOf(() => device.set(1, domain, null))).toBe('EOPNOTSUPP')
    const flags = { nestParent: true, dirtyTracking: false, pasid: false }
    expect(nameOf(() => host.driver.createPaging(device, flags))).toBe('EOPNOTSUPP')
  })
})

/** What a driver writes into registers while `run` makes it: offset and low 32 bits. */
function written(run: () => void): string[] {
  const out: string[] = []
  const write = VtdUnit.prototype.writeRegister
  VtdUnit.prototype.writeRegister = function (this: VtdUnit, offset, bytes, lo, hi) {
    out.push(`0x${offset.toString(16)} ${(lo >>> 0).toString(16)}`)
    write.call(this, offset, bytes, lo, hi)
  }
  try {
    run()
  } finally {
    VtdUnit.prototype.writeRegister = write
  }
  return out
}

describe('write buffers of a unit that must be told to flush them (CAP.RWBF)', () => {
  const RWBF = { CAP: [0x226f0616, 0x80d2078c] } as const
  /** GCMD, offset 0x18: WBF is bit 27, beside TE and QIE that stay on. [VTD 11.4.4.1] */
  const FLUSH = '0x18 8c000000'

  it('are flushed where entries appear that need no invalidation', () => {
    const { device, domain } = setUp({ overrides: RWBF })
    expect(written(() => domain.map(0n, CLIENT, 0x1000n, { read: true, write: true }))).toEqual([])
    expect(written(() => device.set(RID_SLOT, domain, null))).toEqual([FLUSH])
    expect(written(() => domain.map(0x1000n, CLIENT, 0x1000n, { read: true, write: true }))).toEqual([FLUSH])
    expect(dma(device, 0x1008n)).toBe('0x100000008')
  })

  it('are flushed by each invalidation anyway', () => {
    const { device, domain } = setUp({ overrides: RWBF })
    device.set(RID_SLOT, domain, null)
    expect(written(() => device.clear(RID_SLOT, domain))).not.toContain(FLUSH)
  })

  it('are left alone on other units', () => {
    const { device, domain } = setUp()
    expect(written(() => device.set(RID_SLOT, domain, null))).toEqual([])
  })
})

describe('starting a unit', () => {
  it('goes from the queue to the root table, faults and translation', () => {
    const host = makeHost({ preset: LEGACY })
    const root = REGISTER.RTADDR
    const [rootTable] = host.driver.unit.readRegister(root, 8)
    const writes = written(() => makeHost({ preset: LEGACY }))
    expect(writes.filter((line) => !line.startsWith('0x90 '))).toEqual([
      // FSTS cleared; GCMD 0; IQT 0; QIE.
      '0x34 ffffffff',
      '0x18 0',
      '0x88 0',
      '0x18 4000000',
      // RTADDR; SRTP.
      `0x20 ${(rootTable >>> 0).toString(16)}`,
      '0x18 44000000',
      // FEDATA, FEADDR, FEUADDR, FECTL; TE.
      '0x3c 0',
      '0x40 fee00000',
      '0x44 0',
      '0x38 0',
      '0x18 84000000',
    ])
  })

  it('ends with opening the memory that firmware protected (PMEN.EPM)', () => {
    // CAP with PLMR, bit 5.
    const writes = written(() => makeHost({ preset: LEGACY, overrides: { CAP: [0x226f0626, 0x80d2078c] } }))
    expect(writes.slice(-2)).toEqual(['0x18 84000000', '0x64 0'])
  })

  /** Descriptors in the queue before any device is there; the queue is read where it stands. */
  function queued(options: Parameters<typeof makeHost>[0]): string[] {
    const host = makeHost(options)
    const { memory, driver } = host
    const [iqa, iqaHigh] = driver.unit.readRegister(0x90, 8)
    const [tail] = driver.unit.readRegister(0x88, 8)
    const out: string[] = []
    for (let at = 0; at < tail; at += (iqa & 0x800) !== 0 ? 32 : 16) {
      memory.loadWord(iqaHigh * 2 ** 32 + ((iqa & ~0xfff) >>> 0) + at)
      out.push(`0x${((BigInt(memory.hi >>> 0) << 32n) | BigInt(memory.lo >>> 0)).toString(16)}`)
    }
    return out
  }
  const WAIT = '0x200000025'

  it('leaves out what setting the root table has dropped already (CAP.ESRTPS)', () => {
    expect(queued({})).toEqual([])
  })

  it('flushes contexts, PASIDs and translations, one after the other, where it has not', () => {
    // CAP without ESRTPS, bit 63.
    expect(queued({ overrides: { CAP: [0x226f0606, 0x01d2078c] } })).toEqual(['0x11', WAIT, '0x37', WAIT, '0xd2', WAIT])
    const legacy = { CAP: [0x226f0606, 0x00d2078c] } as const
    expect(queued({ preset: LEGACY, overrides: legacy })).toEqual(['0x11', WAIT, '0xd2', WAIT])
  })
})
