import { describe, expect, it } from 'vitest'
import { AtsGuest, CONTEXT, ECAP, FIRST, SECOND } from './ats-guest.js'
import { FS, IQ, MODE, PASIDS, REG, SID, SS } from './guest.js'

const VA = 0x123456000n
const PA = 0x800000n

function started(flags: bigint = CONTEXT.PASID, options: ConstructorParameters<typeof AtsGuest>[0] = {}): AtsGuest {
  const guest = new AtsGuest(options)
  guest.startScalable(flags)
  return guest
}

describe('[VTD 4.2.3 Handling of Translation Requests]', () => {
  it('tells the page that the first stage maps, and its rights', () => {
    const guest = started().mapFirst(VA, PA | FS.PAGE)
    expect(guest.ask(VA + 0x123n)).toBe('rw 0x800123/12')
    guest.path(FIRST, VA + 0x1000n, (PA + 0x1000n) | FS.P | FS.US, FS.TABLE)
    expect(guest.ask(VA + 0x1000n)).toBe('r 0x801000/12')
    expect(guest.faults()).toEqual([])
  })

  it('tells what the second stage maps, in scalable and in legacy mode', () => {
    expect(
      started()
        .mapSecond(VA, PA | SS.RW)
        .ask(VA),
    ).toBe('rw 0x800000/12')
    const legacy = new AtsGuest()
    legacy.path(SECOND, VA, PA | SS.RW, 3n)
    legacy.store(0x1000, 0x2001n, 0n)
    // AW 2, TT 01, DID 2.
    legacy.store(0x2000 + SID * 16, BigInt(SECOND) | 0x5n, 0x202n)
    legacy.start(MODE.LEGACY)
    expect(legacy.ask(VA)).toBe('rw 0x800000/12')
    expect(legacy.translated(PA)).toBe('0x800000')
  })

  it('is answered R alone with No Write, and the D flag stays clear', () => {
    const guest = started().mapFirst(VA, PA | FS.P | FS.RW | FS.US)
    const leaf = FIRST + 0x3000 + Number((VA >> 12n) & 511n) * 8
    expect(guest.ask(VA, 'r')).toBe('r 0x800000/12')
    expect(guest.load(leaf)).toBe(PA | FS.P | FS.RW | FS.US | FS.A)
    expect(guest.ask(VA)).toBe('rw 0x800000/12')
    expect(guest.load(leaf)).toBe(PA | FS.PAGE)
  })

  it('hears no No Write on a unit without NWFS', () => {
    const guest = started(CONTEXT.PASID, { lacks: ECAP.NWFS }).mapFirst(VA, PA | FS.P | FS.RW | FS.US)
    expect(guest.ask(VA, 'r')).toBe('rw 0x800000/12')
    expect(guest.load(FIRST + 0x3000 + Number((VA >> 12n) & 511n) * 8)).toBe(PA | FS.PAGE)
  })

  it('always asks to read, whatever else', () => {
    const guest = started().mapFirst(VA, PA | FS.PAGE)
    expect([guest.ask(VA, 'w'), guest.ask(VA, '')]).toEqual(['rw 0x800000/12', 'r 0x800000/12'])
  })

  it('sets no D flag of a page that it may not write', () => {
    const guest = started().mapFirst(VA, PA | FS.P | FS.US)
    expect(guest.ask(VA)).toBe('r 0x800000/12')
    expect(guest.load(FIRST + 0x3000 + Number((VA >> 12n) & 511n) * 8)).toBe(PA | FS.P | FS.US | FS.A)
  })

  it('sets the A and D flags of a write-only page of the second stage with SSADE, and with No Write nothing is left', () => {
    const guest = started().mapSecond(VA, PA | SS.W, 1n << 9n)
    const leaf = SECOND + 0x3000 + Number((VA >> 12n) & 511n) * 8
    expect(guest.ask(VA, 'r')).toBe('nothing')
    expect(guest.load(leaf)).toBe(PA | SS.W | SS.A)
    expect(guest.ask(VA)).toBe('w 0x800000/12')
    expect(guest.load(leaf)).toBe(PA | SS.W | SS.A | SS.D)
    expect(guest.faults()).toEqual([])
  })

  it('tells of a write-only page below a first stage, on a unit without zero-length reads too', () => {
    // ZLR, bit 22 of CAP, is 0.
    const guest = new AtsGuest({ ids: { CAP: [0x222f0606, 0x81d2078c], ECAP: [0x84000fc7, 0x0013e99e] } })
    guest.startScalable(CONTEXT.PASID)
    guest.path(FIRST, VA, PA | FS.PAGE, FS.TABLE)
    for (let step = 0; step < 4; step++) {
      const table = BigInt(FIRST + step * 0x1000)
      guest.path(SECOND, table, table | SS.RW, SS.RW)
    }
    guest.path(SECOND, PA, PA | SS.W, SS.RW)
    guest.nested(0, 3, FIRST, SECOND)
    expect([guest.ask(VA), guest.ask(VA, 'r'), guest.faults()]).toEqual(['w 0x800000/12', 'nothing', []])
  })

  it('never tells of more than a leaf, and of the smaller one where both stages have one', () => {
    const guest = started()
    guest.firstStage(0, 2, FIRST)
    guest.path(FIRST, 0x40000000n, 0n, FS.TABLE)
    // 2 MiB at 0x4020_0000, and 4 KiB next to it.
    guest.store(FIRST + 0x2000 + 8, 0x200000n | FS.PAGE | FS.PS)
    guest.store(FIRST + 0x3000, 0x900000n | FS.PAGE)
    expect(guest.ask(0x40234567n)).toBe('rw 0x234567/21')
    expect(guest.ask(0x40000000n)).toBe('rw 0x900000/12')
    guest.nested(1, 3, FIRST, SECOND)
    guest.path(SECOND, 0n, SS.RW, 3n)
    // The first GiB by 2 MiB leaves, but for the guest's 2 MiB page: its second 4 KiB alone.
    for (let i = 0n; i < 8n; i++) guest.store(SECOND + 0x2000 + Number(i) * 8, (i << 21n) | SS.RW | SS.PS)
    expect(guest.ask(0x40234567n, 'rw', 1)).toBe('rw 0x234567/21')
    guest.store(SECOND + 0x2000 + 8, BigInt(SECOND + 0x3000) | SS.RW)
    guest.store(SECOND + 0x3000 + 0x34 * 8, 0xa34000n | SS.RW)
    // TE going off drops what is cached. [VTD 11.4.4.1]
    guest.stop()
    guest.start(MODE.SCALABLE)
    expect(guest.ask(0x40234567n, 'rw', 1)).toBe('rw 0xa34567/12')
  })

  it('tells of 1 GiB around the address where nothing is translated, or of 2 MiB on a unit without larger pages', () => {
    const guest = started()
    guest.passThrough(0, 2)
    expect(guest.ask(0x7654321000n)).toBe('rw 0x7654321000/30')
    expect(guest.dma(0x7654321000n)).toBe('0x7654321000')
    expect(guest.ask(0x7654321000n)).toBe('rw 0x7654321000/30')
    const small = new AtsGuest({ ids: { CAP: [0x226f0606, 0x80d20784], ECAP: [0x84000fc7, 0x0013e99c] } })
    small.startScalable(CONTEXT.PASID)
    small.passThrough(0, 2)
    expect(small.ask(0x7654321000n)).toBe('rw 0x7654321000/21')
    // No first stage; large pages of the second, 2 MiB in bit 34 of CAP, or none.
    for (const [sslps, lg2] of [
      [4, 21],
      [0, 12],
    ] as const) {
      const smallest = new AtsGuest({ ids: { CAP: [0x226f0606, 0x80d20780 | sslps], ECAP: [0x80000fc7, 0x00136998] } })
      smallest.startScalable(CONTEXT.PASID)
      smallest.passThrough(0, 2)
      expect(smallest.ask(0x7654321000n)).toBe(`rw 0x7654321000/${lg2}`)
    }
    expect(guest.ask(0x7654321000n, 'r')).toBe('r 0x7654321000/30')
  })

  it('is granted a privileged page under a PASID that is privileged, and nothing as a user', () => {
    const guest = started().mapFirst(VA, PA | FS.P | FS.RW, 5)
    guest.store(PASIDS + 5 * 64 + 16, BigInt(FIRST) | 1n)
    expect([guest.ask(VA, 'rwp', 5), guest.ask(VA, 'rw', 5)]).toEqual(['rw 0x800000/12', 'nothing'])
    expect(guest.faults()).toEqual([])
  })
})

describe('a translation request without PASID under RID_PRIV', () => {
  it('is granted what privileged requests are, and nothing without SRE', () => {
    const guest = started(CONTEXT.PASID, { offers: ECAP.RPRIVS }).mapFirst(VA, PA | FS.P)
    guest.store(guest.context + 8, 1n << 20n)
    expect(guest.ask(VA)).toBe('nothing')
    guest.store(PASIDS + 16, BigInt(FIRST) | 1n)
    guest.stop()
    guest.startScalable(CONTEXT.PASID)
    guest.store(guest.context + 8, 1n << 20n)
    // WPE is 0: a privileged write is no matter of R/W.
    expect([guest.ask(VA), guest.out.hit]).toEqual(['rw 0x800000/12', 0])
    expect([guest.ask(VA), guest.out.hit]).toEqual(['rw 0x800000/12', 1])
    expect(guest.ask(VA, 'r')).toBe('r 0x800000/12')
    expect(guest.faults()).toEqual([])
  })
})

describe('the interrupt address range', () => {
  const NEAR = 0xfec00000n
  const RANGE = 0xfee01000n

  it('may be written untranslated, and with No Write is granted nothing', () => {
    const guest = started().mapFirst(RANGE, PA | FS.PAGE)
    expect([guest.ask(RANGE), guest.ask(0xfeefffffn)]).toEqual(['untranslated w', 'untranslated w'])
    expect(guest.out.address).toBe(0xfeefffff)
    expect(guest.ask(RANGE, 'r')).toBe('nothing')
    expect([guest.ask(0xfedff000n), guest.ask(0xfef00000n)]).toEqual(['nothing', 'nothing'])
    expect(guest.faults()).toEqual([])
  })

  it('is told so even where tables translate it, and again after somebody else was told', () => {
    const guest = started().mapFirst(RANGE, PA | FS.PAGE)
    expect(guest.dma(RANGE, 'w')).toBe('0x800000')
    expect(guest.ask(RANGE)).toBe('untranslated w')
    expect(guest.ask(VA)).toBe('nothing')
    expect(guest.out.untranslatedOnly).toBe(0)
  })

  it('is not special to requests without ATS, which are unsupported first', () => {
    expect(started(0x9n).ask(RANGE)).toBe('UR 0x44')
  })

  it('is translated like any address under a PASID, and passes where nothing is translated', () => {
    const guest = started().mapFirst(RANGE, PA | FS.PAGE, 5)
    expect(guest.ask(RANGE, 'rw', 5)).toBe('rw 0x800000/12')
    guest.passThrough(6, 3)
    expect(guest.ask(RANGE, 'rw', 6)).toBe('rw 0xfee01000/30')
    expect(guest.dma(RANGE, 'r', 6)).toBe('fault 0x87')
  })

  it('is a Completer Abort where any part of what would be told of comes out there, cached or not', () => {
    const guest = started()
    guest.firstStage(0, 2, FIRST)
    guest.path(FIRST, 0n, 0n, FS.TABLE)
    // 2 MiB that begin with the range and end behind it, where the address comes out; 2 MiB that end before it.
    guest.store(FIRST + 0x2000, 0xfee00000n | FS.PAGE | FS.PS)
    guest.store(FIRST + 0x2000 + 8, NEAR | FS.PAGE | FS.PS)
    expect(guest.ask(0x150000n)).toBe('CA 0x87')
    expect(guest.dma(0x150000n, 'rw')).toBe('0xfef50000')
    expect(guest.ask(0x150000n)).toBe('CA 0x87')
    expect(guest.ask(0x200000n)).toBe('rw 0xfec00000/21')
    expect(guest.faults()).toEqual(['0x87 AT=1', '0x87 AT=1'])
  })

  it('is looked for in the whole of a leaf, though DMA has left a fraction of it in the IOTLB', () => {
    const guest = new AtsGuest({ caches: { fractions: true } })
    guest.startScalable(CONTEXT.PLAIN)
    guest.firstStage(0, 2, FIRST)
    guest.path(FIRST, 0x5000n, 0n, FS.TABLE)
    // 2 MiB, of which the second half is the range's upper neighbour.
    guest.store(FIRST + 0x2000, 0xfee00000n | FS.PAGE | FS.PS)
    expect(guest.dma(0x10_5000n)).toBe('0xfef05000')
    expect(guest.ask(0x10_5000n)).toBe('CA 0x87')
  })
})

describe('the IOTLB', () => {
  it('answers a translation request, and is filled by one', () => {
    const guest = started().mapFirst(VA, PA | FS.PAGE)
    expect(guest.ask(VA)).toBe('rw 0x800000/12')
    expect(guest.out.hit).toBe(0)
    expect(guest.ask(VA)).toBe('rw 0x800000/12')
    expect(guest.out.hit).toBe(1)
    expect([guest.dma(VA, 'w'), guest.out.hit]).toEqual(['0x800000', 1])
    expect([guest.ask(VA, 'r'), guest.out.hit]).toEqual(['r 0x800000/12', 1])
  })

  it('answers with what it holds until it is invalidated, however wrong that has become', () => {
    const guest = started().mapFirst(VA, PA | FS.PAGE)
    guest.startQueue()
    guest.ask(VA)
    guest.path(FIRST, VA, (PA + 0x5000n) | FS.PAGE, FS.TABLE)
    expect(guest.ask(VA)).toBe('rw 0x800000/12')
    guest.queue(IQ.piotlbPage(2, 0, VA))
    expect(guest.ask(VA)).toBe('rw 0x805000/12')
  })

  it('is not asked for more than it holds: a page without D, or without W, is walked again', () => {
    const guest = started().mapFirst(VA, PA | FS.P | FS.RW | FS.US)
    guest.ask(VA, 'r')
    expect([guest.ask(VA), guest.out.hit]).toEqual(['rw 0x800000/12', 0])
    expect([guest.ask(VA), guest.out.hit]).toEqual(['rw 0x800000/12', 1])
  })

  it('filled while translation requests were forbidden answers none', () => {
    const guest = started(0x9n).mapFirst(VA, PA | FS.PAGE)
    guest.startQueue()
    expect(guest.dma(VA, 'rw')).toBe('0x800000')
    guest.store(guest.context, 0x4000n | CONTEXT.PASID)
    expect(guest.ask(VA)).toBe('UR 0x44')
    guest.queue(IQ.contextDevice(SID))
    expect([guest.ask(VA), guest.out.hit]).toEqual(['rw 0x800000/12', 0])
    expect([guest.ask(VA), guest.out.hit]).toEqual(['rw 0x800000/12', 1])
  })

  it('answers a device whose right to ask was taken away, until it is invalidated', () => {
    const guest = started().mapFirst(VA, PA | FS.PAGE)
    guest.startQueue()
    guest.ask(VA)
    guest.store(guest.context, 0x4009n)
    guest.queue(IQ.contextDevice(SID))
    expect(guest.ask(VA)).toBe('rw 0x800000/12')
    guest.queue(IQ.piotlb(2, 0))
    expect(guest.ask(VA)).toBe('UR 0x44')
  })
})

describe('[VTD 4.2.5 Handling of Translated Requests]', () => {
  it('end at the context entry: the address is physical, and no table of a PASID is looked at', () => {
    const guest = started()
    expect([guest.translated(PA, 'rw'), guest.translated(0xffff_ffff_f000n)]).toEqual(['0x800000', '0xfffffffff000'])
    expect(guest.faults()).toEqual([])
  })

  it('are blocked beyond the host address width, and in the interrupt range', () => {
    const guest = started()
    expect(guest.translated(1n << 48n)).toBe('fault 0x83')
    expect([guest.translated(0xfee00000n, 'w'), guest.translated(0xfeefffffn)]).toEqual(['fault 0x87', 'fault 0x87'])
    expect([guest.translated(0xfedfffffn), guest.translated(0xfef00000n)]).toEqual(['0xfedfffff', '0xfef00000'])
    expect(guest.translated(0x1_fee0_0000n)).toBe('0x1fee00000')
    expect(guest.faults()).toEqual(['0x83 AT=2', '0x87 AT=2', '0x87 AT=2'])
  })

  it('have their own names for that in legacy mode', () => {
    const guest = new AtsGuest()
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 16, BigInt(SECOND) | 0x5n, 0x202n)
    guest.start(MODE.LEGACY)
    expect([guest.translated(1n << 48n), guest.translated(0xfee00000n)]).toEqual(['fault 0x4', 'fault 0xe'])
  })

  it('carry a PASID only where the unit and the context entry say so', () => {
    expect(started(CONTEXT.PASID, { lacks: ECAP.PTRS }).translated(PA, 'r', 5)).toBe('status 3')
    expect(started(CONTEXT.PASID).translated(PA, 'r', 5)).toBe('fault 0x49')
    const guest = started(CONTEXT.EPTR)
    expect(guest.translated(PA, 'r', 5)).toBe('0x800000')
    // RID_PASID 0; 2^13 PASIDs in the directory.
    expect([guest.translated(PA, 'r', 0), guest.translated(PA, 'r', 0x2000)]).toEqual(['fault 0x48', 'fault 0x46'])
    // EPTR without PASIDE.
    expect(started(0x45n).translated(PA)).toBe('fault 0x43')
    expect(started(0x45n).ask(VA)).toBe('CA 0x43')
  })
})

describe('a unit that is off', () => {
  it('does not support ATS, and records nothing', () => {
    const guest = started().mapFirst(VA, PA | FS.PAGE)
    guest.stop()
    expect([guest.ask(VA), guest.translated(PA)]).toEqual(['UR', 'status 3'])
    expect(guest.read(REG.FSTS)).toBe(0n)
  })
})
