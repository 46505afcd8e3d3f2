/** What QEMU's VT-d is known to do wrong, by its code and by reports, and what this unit does instead: faults, queue. */

import { describe, expect, it } from 'vitest'
import { did, type Garden, lost, pasid } from './garden.js'
import { CAP_48, ECAP_48, Guest, QIE, REG, SRTP } from './guest.js'
import { PA, PASID, ROOT, VA, World } from './world.js'

const OK = `0x${PA.toString(16)}`
const SLOT = 0x9000n

describe('unlike in QEMU, a fault', () => {
  it('of the second stage has a code of scalable mode there, never one of legacy mode', () => {
    const codes = [
      (w: World) => w.store(w.second.at(VA), 0n),
      (w: World) => w.or(w.second.at(VA), 1n << 62n),
      (w: World) => w.store(w.second.at(VA, 1), 0x3_0000_0003n),
      (w: World) => w.clear(w.second.at(VA), 2n),
    ].map((spoil) => {
      const w = new World('second')
      spoil(w)
      return w.go().dma(VA, 'w')
    })
    expect(codes).toEqual(['fault 79', 'fault 7a', 'fault 78', 'fault 85'])
    expect(new World('second').go().dma(1n << 50n)).toBe('fault 84')
  })

  it('has all 20 bits of a PASID, and none of a request without', () => {
    const w = new World('first')
    w.or(w.context, 7n << 9n)
    w.go()
    w.dma(VA, 'r', { pasid: 0xf_fff7 })
    expect(w.faults()).toEqual(['0000123456789000 cffff7518000021a'])
    w.dma(VA + 0x1000n)
    expect(w.faults()).toEqual(['000012345678a000 c00000710000021a'])
  })

  it('tells AtomicOps, execution, privilege and, with device-TLBs, the kind of address', () => {
    const w = new World('first', { ecap: ECAP_48 | 4n })
    w.store(w.entry(PASID), 0n)
    w.go()
    w.dma(VA, 'rw', { pasid: PASID })
    w.dma(VA, 'rxp', { pasid: PASID })
    w.dma(VA, 'r', { type: 1 })
    w.dma(VA, 'w', { type: 2 })
    expect(w.faults().map((words) => words.split(' ')[1])).toEqual([
      'c00045599000021a',
      'c0004559e000021a',
      'd00000440000021a',
      'a00000440000021a',
    ])
  })

  it('has as many records as NFR says', () => {
    const w = new World('first').go()
    for (let i = 1n; i <= 8n; i++) w.dma(VA + i * 0x1000n)
    expect([w.get32(REG.FSTS), w.faults().length]).toEqual([2n, 8])
  })
})

describe('unlike in QEMU, the queue', () => {
  const running = (options = {}): World => new World('first', options).go()

  it('takes a wait with SW and IF, writes before it interrupts, and interrupts once', () => {
    const w = running()
    w.set32(REG.IECTL, 0n)
    const seen: bigint[] = []
    w.onMessage = () => seen.push(w.load(SLOT))
    w.queue(0x7_0000_0035n, SLOT)
    w.settle()
    expect([seen, w.get32(REG.FSTS)]).toEqual([[7n], 0n])
  })

  it('takes a wait with FN alone', () => {
    const w = running()
    w.queue(0x45n, 0n, 0x7_0000_0025n, SLOT)
    expect([w.get32(REG.FSTS), w.load(SLOT)]).toEqual([0n, 7n])
  })

  it('takes a wait with PD where PDS is offered', () => {
    const w = running({ ecap: ECAP_48 | (1n << 2n) | (1n << 42n) })
    w.queue(0x7_0000_00a5n, SLOT)
    expect([w.get32(REG.FSTS), w.load(SLOT)]).toEqual([0n, 7n])
  })

  it('goes on when IQE is cleared, and IQERCD says why it had stopped', () => {
    const w = running()
    w.queue(0x31n | (1n << 50n), 0n, 0x7_0000_0025n, SLOT)
    expect([w.get32(REG.FSTS), w.get64(REG.IQERCD), w.load(SLOT)]).toEqual([0x10n, 4n, 0n])
    w.store(0x8_0000n, 0x31n)
    w.set32(REG.FSTS, 0x10n)
    expect([w.get32(REG.FSTS), w.load(SLOT)]).toEqual([0n, 7n])
  })

  it('leaves no register-based command busy', () => {
    const w = running()
    w.set64(REG.CCMD, 0xa000_0000_0000_0000n)
    w.set64(REG.IOTLB, 0x9000_0000_0000_0000n)
    expect([w.get64(REG.CCMD) >> 63n, w.get64(REG.IOTLB) >> 63n]).toEqual([0n, 0n])
  })

  it('has types of 7 bits: bits 11:9 count', () => {
    for (const high of [1n, 2n, 4n]) {
      const w = running()
      w.queue(0x12n | (high << 9n), 0n)
      expect([w.get32(REG.FSTS), w.get64(REG.IQERCD)]).toEqual([0x10n, 3n])
    }
  })

  it('has address masks of 6 bits: AM 8, 31, 32 and 35 reach as far as they say', () => {
    const plants = { it: { kind: 'first', sid: 0x0208, pasid: 5, did: 2n, va: 0x4000_0000_0000n } } as const
    const drops = (at: bigint, am: bigint): boolean => {
      const act = (g: Garden): void => g.queue(0x36n | did(2) | pasid(5), at | am)
      return lost(plants, ['iotlb'], act).iotlb === 'it'
    }
    for (const am of [8n, 9n, 30n, 31n, 32n, 33n, 34n]) {
      const bytes = 1n << (12n + am)
      expect([drops(0x4000_0000_0000n | (bytes - 0x1000n), am), drops(0x4000_0000_0000n - bytes, am)], `${am}`).toEqual(
        [true, false],
      )
    }
    expect([drops(0n, 34n), drops(0n, 35n)]).toEqual([false, true])
  })

  it('may be on with an empty queue at address 0', () => {
    const g = new Guest()
    g.enable(QIE)
    expect([g.get32(REG.GSTS), g.get32(REG.FSTS)]).toEqual([QIE, 0n])
  })
})

describe('unlike in QEMU, SRTP', () => {
  it('looks at both bits of TTM', () => {
    expect(new World('first').go(ROOT | 0x800n).dma(VA)).toBe('fault 30')
    expect(new World('first').go(ROOT | 0xc00n).dma(VA)).toBe('fault 33')
    expect(new World('legacy').go(ROOT | 0x800n).dma(VA)).toBe('fault 30')
  })

  it('may come at any time, as often as a guest likes', () => {
    const w = new World('first').go()
    for (let i = 0; i < 10_000; i++) w.once(SRTP)
    expect([w.dma(VA), w.faults()]).toEqual([OK, []])
  })
})

describe('unlike in QEMU, a register', () => {
  it('of any size at any place answers: nothing throws', () => {
    const w = new World('first').go()
    for (let offset = 0; offset < w.unit.registerBytes; offset += 4) {
      for (const bytes of offset % 8 === 0 ? ([4, 8] as const) : ([4] as const)) {
        const [lo, hi] = w.unit.readRegister(offset, bytes)
        expect([lo >>> 0, hi >>> 0]).toEqual([lo, hi])
        w.unit.writeRegister(offset, bytes, 0xffff_ffff, 0xffff_ffff)
        w.unit.writeRegister(offset, bytes, 0, 0)
      }
    }
    w.unit.reset()
    const again = new World('first').go()
    expect(again.dma(VA)).toBe(OK)
  })
})

describe('unlike in QEMU, the interrupt range', () => {
  it('is answered on the DMA path too: a fault, and its code is that of the mode', () => {
    const told = (kind: 'legacy' | 'first' | 'second'): string => {
      const w = new World(kind)
      w.store((kind === 'first' ? w.first : w.second).at(VA), 0xfee0_0067n)
      return w.go().dma(VA)
    }
    expect([told('legacy'), told('first'), told('second')]).toEqual(['fault e', 'fault 87', 'fault 87'])
    const w = new World('first').go()
    expect([w.dma(0xfee0_0000n, 'r', { bytes: 8 }), w.dma(0xfeef_ffffn, 'w', { bytes: 1 })]).toEqual([
      'fault 29',
      'fault 29',
    ])
  })

  it('does not take a large page with it that only reaches into it', () => {
    const w = new World('second')
    w.store(w.second.at(0x4000_0000n, 1), 0xfee0_0083n)
    w.go()
    expect([w.dma(0x4010_0000n), w.dma(0x400f_f000n)]).toEqual(['0xfef00000', 'fault 87'])
  })
})

describe('unlike in QEMU, an address', () => {
  it('may be above 512 GiB in the smallest unit offered: 48 bits', () => {
    const cap = new Guest().get64(REG.CAP)
    expect([(cap >> 16n) & 0x3fn, (cap >> 8n) & 0x1fn]).toEqual([47n, 6n])
    for (const kind of ['legacy', 'first', 'second', 'nested'] as const) {
      expect(VA > 1n << 39n && new World(kind).go().dma(VA)).toBe(OK)
    }
  })

  it('is translated with caching mode and without: neither is needed to start', () => {
    for (const cap of [CAP_48, CAP_48 | 0x80n]) expect(new World('nested', { cap }).go().dma(VA)).toBe(OK)
  })
})
