/** Words that drivers and emulators are known to write, taken by a unit; and what tests of such units observe. */

import { describe, expect, it } from 'vitest'
import { ECAP_48, Guest, QIE, QUEUE, REG, SID, SRTP, TE } from './guest.js'
import { type Kind, PA, ROOT, VA, World } from './world.js'

const OK = `0x${PA.toString(16)}`
const NEW = '0x87655abc'

describe('a descriptor as drivers write it is taken:', () => {
  const WORDS: readonly (readonly [what: string, low: bigint, high: bigint])[] = [
    ['PASID cache, PASID 0 of domain 2', 0x2_0017n, 0n],
    ['PASID-based IOTLB, PASID 5 of domain 2', 0x5_0002_0026n, 0n],
    ['PASID-based IOTLB, pages', 0x5_0002_0036n, 0x7000n | 3n],
    ['PASID-based IOTLB, everything by pages, as older Linux has it', 0x5_0002_0036n, 52n],
    ['IOTLB, domain 2, drained', 0x2_00e2n, 0n],
    ['wait with status', 0x2_0000_0025n, 0x9000n],
    ['wait with status and PD', 0x2_0000_00a5n, 0x9000n],
    ['fence', 0x2_0000_0045n, 0n],
    ['device-TLB, everything', 0x021a_0000_0003n, 0x7fff_ffff_ffff_f001n],
    ['device-TLB of PASID 5, everything', 0x5_021a_0008n, 0x7fff_ffff_ffff_f800n],
    ['device-TLB, 8 KiB at 0', 0x021a_0000_0003n, 1n],
  ]
  for (const [what, low, high] of WORDS) {
    it(what, () => {
      const w = new World('first', { ecap: ECAP_48 | (1n << 2n) | (1n << 42n) }).go()
      w.queue(low, high, 0x7_0000_0025n, 0x9010n)
      expect([w.get32(REG.FSTS), w.load(0x9010n)]).toEqual([0n, 7n])
    })
  }
})

describe("the tables of QEMU's own test", () => {
  /** Root, context with RID_PASID 0 and no gate open, directory, PASID entry of PGTT 1, domain in word 1, then FSPTPTR. */
  it('translate', () => {
    const g = new Guest()
    const tables = new World('first')
    const at = (i: bigint): bigint => 0x10_0000n + i * 0x1000n
    g.store(at(0n) + BigInt(SID >> 8) * 16n, at(1n) | 1n)
    g.store(at(1n) + BigInt(SID & 0x7f) * 32n, at(2n) | 1n)
    g.store(at(2n), at(3n) | 1n)
    g.store(at(3n), 0x41n, 1n, at(4n))
    // Flags are set already: PWSNP is not.
    for (let level = 3n; level >= 0n; level--) {
      const index = (VA >> (12n + 9n * level)) & 511n
      g.store(at(7n - level) + index * 8n, level === 0n ? 0x8765_4067n : at(8n - level) | 0x67n)
    }
    g.startQueue()
    g.start(at(0n) | 0x400n)
    expect([g.dma(VA), g.dma(VA, 'w'), g.faults(), tables.go().dma(VA)]).toEqual([OK, OK, [], OK])
  })
})

describe('what tests of emulators observe', () => {
  it('each bit of GSTS is there right after its command', () => {
    const w = new World('first')
    w.set64(REG.RTADDR, ROOT | 0x400n)
    const seen: bigint[] = []
    w.once(SRTP)
    seen.push(w.get32(REG.GSTS))
    w.startQueue()
    seen.push(w.get32(REG.GSTS))
    w.enable(TE)
    seen.push(w.get32(REG.GSTS))
    expect(seen).toEqual([SRTP, SRTP | QIE, SRTP | QIE | TE])
    expect([w.get32(REG.FSTS), (w.get64(REG.CAP) >> 9n) & 1n, (w.get64(REG.CAP) >> 34n) & 15n]).toEqual([0n, 1n, 3n])
    expect((w.get32(REG.VER) >> 3n) & 15n).toBeGreaterThanOrEqual(1n)
  })

  it('a 3-level domain numbered after its function, faults silenced, all allowed', () => {
    const w = new World('legacy', { levels: 3, did: BigInt(SID), mapped: false })
    w.or(w.context, 2n)
    w.second.map(0x1234_5000n, 0x8765_4003n)
    w.go()
    expect([w.dma(0x1234_5abcn), w.dma(0x1234_6000n), w.faults()]).toEqual([OK, 'fault 6', []])
  })

  /** Rewrites the page of VA without an invalidation, then with one. */
  const rewritten = (kind: Kind, ...descriptor: bigint[]): string[] => {
    const w = new World(kind).go()
    const first = w.dma(VA)
    if (kind === 'first') w.store(w.first.at(VA), 0x8765_5067n)
    else w.store(w.second.at(VA), 0x8765_5003n)
    const stale = w.dma(VA)
    w.queue(...descriptor)
    return [first, stale, w.dma(VA)]
  }

  for (const kind of ['legacy', 'second', 'first'] as const) {
    it(`a page that was rewritten is the old one until an invalidation, ${kind}`, () => {
      expect(rewritten(kind, 0x12n, 0n)).toEqual([OK, OK, NEW])
      expect(rewritten(kind, 0x7_0022n, 0n)).toEqual([OK, OK, NEW])
      expect(rewritten(kind, 0x7_0032n, VA & ~0xfffn)).toEqual([OK, OK, NEW])
      expect(rewritten(kind, 0x8_0022n, 0n)).toEqual([OK, OK, OK])
    })
  }

  it('an IOTLB invalidation of one page drops a second one of a first stage, and spares that of a second stage', () => {
    const second = (kind: Kind): string => {
      const w = new World(kind)
      const tables = kind === 'first' ? w.first : w.second
      const flags = kind === 'first' ? 0x67n : 3n
      tables.map(VA + 0x1000n, 0x8765_5000n | flags)
      w.go()
      for (const va of [VA, VA + 0x1000n]) w.dma(va)
      tables.map(VA + 0x1000n, 0x8765_6000n | flags)
      w.queue(0x7_0032n, VA & ~0xfffn)
      return w.dma(VA + 0x1000n)
    }
    expect([second('first'), second('second'), second('legacy')]).toEqual(['0x87656abc', NEW, NEW])
  })
})

describe('entries as logs show them', () => {
  it('a context entry of 0x105a6a401: P, PDTS 2', () => {
    const w = new World('first')
    w.store(w.context, 0x401n | w.directory, 0n)
    w.store(w.directory, w.pasidTable | 1n)
    w.store(w.pasidTable, ...w.words(2n))
    expect(w.go().dma(VA)).toBe(OK)
  })

  it('a PASID entry of 0x109 passes through, and so does one without AW', () => {
    for (const word of [0x109n, 0x101n]) {
      const w = new World('pass-through')
      w.store(w.entry(), word)
      expect(w.go().dma(VA)).toBe(`0x${VA.toString(16)}`)
    }
  })

  it('a first-stage entry with AW of a unit that has both stages', () => {
    const w = new World('first')
    w.or(w.entry(), 2n << 2n)
    expect(w.go().dma(VA)).toBe(OK)
  })

  it('an entry of a process that has gone: FPD alone, so that nothing is told', () => {
    const w = new World('first')
    w.store(w.entry(), 2n, 0n, 0n)
    expect([w.go().dma(VA), w.faults()]).toEqual(['fault 59', []])
  })

  it('a queue of Linux: base, DW, QS 1', () => {
    const w = new World('first').go()
    expect(w.get64(REG.IQA)).toBe(QUEUE | 0x801n)
  })
})
// Interrupt remapping entries, whose format the manual has in 9.9, have no words here: no unit offers the remapping.
