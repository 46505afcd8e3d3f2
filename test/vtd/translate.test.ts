import { describe, expect, it } from 'vitest'
import { FS, Guest, IQ, MODE, PASIDS, REG, SID, SS } from './guest.js'

const PAGE = 0x40_0000n
const FIRST = 0x100000
const SECOND = 0x110000

describe('a request with PASID', () => {
  function gates(context = 0x9n, ids = {}): Guest {
    const guest = new Guest({ ids })
    guest.startScalable(context)
    guest.path(FIRST, PAGE, 0x200000n | FS.PAGE, FS.TABLE)
    guest.firstStage(1, 2, FIRST)
    guest.firstStage(0, 2, FIRST)
    return guest
  }

  it('needs PASIDE', () => expect(gates(0x1n).dma(PAGE, 'r', 1)).toBe('fault 0x45'))
  it('needs a PASID within the directory', () => expect(gates().dma(PAGE, 'r', 0x2000)).toBe('fault 0x46'))
  it('may not carry RID_PASID itself', () => {
    expect(gates().dma(PAGE, 'r', 0)).toBe('fault 0x48')
    expect(gates().dma(PAGE)).toBe('0x200000')
  })
  it('needs a PASID within PSS', () => {
    // PSS 9: ten bits.
    const guest = gates(0x9n, { ECAP: [0x84000fc3, 0x0013e94c] })
    expect(guest.dma(PAGE, 'r', 0x400)).toBe('fault 0x89')
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x200000')
  })
  it('may not execute, nor be privileged without SRE', () => {
    const guest = gates()
    expect(guest.dma(PAGE, 'rx', 1)).toBe('fault 0x5c')
    expect(guest.dma(PAGE, 'rp', 1)).toBe('fault 0x5d')
  })
  it('is blocked in legacy mode', () => {
    const guest = new Guest()
    guest.start(MODE.LEGACY)
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x31')
  })
})

describe('RID_PASID', () => {
  it('governs requests without PASID, and is refused beyond the directory', () => {
    const guest = new Guest()
    guest.startScalable()
    guest.store(guest.context, 0x4009n, 3n, 0n, 0n)
    guest.path(FIRST, PAGE, 0x200000n | FS.PAGE, FS.TABLE)
    guest.firstStage(3, 2, FIRST)
    expect(guest.dma(PAGE)).toBe('0x200000')
    expect(guest.dma(PAGE, 'r', 3)).toBe('fault 0x48')
    const wide = new Guest()
    wide.startScalable()
    wide.store(wide.context, 0x4009n, 0x2000n, 0n, 0n)
    expect(wide.dma(PAGE)).toBe('fault 0x43')
  })
})

describe('an entry of the scalable tables is checked in the order fetch, present, reserved, valid', () => {
  const cases: readonly [string, string, (guest: Guest) => void][] = [
    ['root not readable', '0x38', (g) => g.write(REG.RTADDR, 0x80_0000_0400n, 8)],
    ['root absent', '0x39', (g) => g.store(0x1000, 0n)],
    ['root reserved', '0x3a', (g) => g.store(0x1000, 0x2003n)],
    ['root reserved in its other, present half', '0x3a', (g) => g.store(0x1000, 0x2001n, 0x3n)],
    ['context not readable', '0x40', (g) => g.store(0x1000, 0x80_0000_0001n)],
    ['context absent', '0x41', (g) => g.store(g.context, 0x4008n)],
    ['context with DTE on a unit without device TLBs', '0x42', (g) => g.store(g.context, 0x400dn)],
    ['context with an address beyond the host width', '0x42', (g) => g.store(g.context, 0x0001_0000_0000_4009n)],
    ['directory not readable', '0x50', (g) => g.store(g.context, 0x80_0000_0009n)],
    ['directory absent', '0x51', (g) => g.store(g.directory, 0n)],
    ['directory reserved', '0x52', (g) => g.store(g.directory, BigInt(PASIDS | 5))],
    ['PASID table not readable', '0x58', (g) => g.store(g.directory, 0x80_0000_0001n)],
    ['PASID entry absent', '0x59', (g) => g.store(PASIDS, 0n)],
    ['PASID entry reserved (bit 5)', '0x5a', (g) => g.store(PASIDS, 0x61n)],
    ['PASID entry reserved (bit 129)', '0x5a', (g) => g.store(PASIDS, 0x41n, 2n, BigInt(FIRST) | 2n)],
    ['PASID entry reserved (last word)', '0x5a', (g) => g.store(PASIDS + 56, 1n)],
    ['PGTT 0', '0x5b', (g) => g.store(PASIDS, 0x1n)],
    ['PGTT 5', '0x5b', (g) => g.store(PASIDS, 0x149n)],
    ['AW 0 for the second stage', '0x5b', (g) => g.store(PASIDS, BigInt(SECOND) | 0x81n)],
    ['AW 57 on a unit of 48', '0x5b', (g) => g.store(PASIDS, BigInt(SECOND) | 0x8dn)],
    ['five levels without FS5LP', '0x5b', (g) => g.store(PASIDS, 0x41n, 2n, BigInt(FIRST) | 4n)],
    ['nested FSPTPTR beyond AW', '0x5b', (g) => g.store(PASIDS, BigInt(SECOND) | 0xc5n, 2n, 1n << 40n)],
  ]
  it.each(cases)('%s: %s', (_, reason, change) => {
    const guest = new Guest()
    guest.startScalable()
    guest.path(FIRST, PAGE, 0x200000n | FS.PAGE, FS.TABLE)
    guest.firstStage(0, 2, FIRST)
    change(guest)
    if (reason === '0x38') guest.write(REG.GCMD, 3n << 30n)
    expect(guest.dma(PAGE)).toBe(`fault ${reason}`)
    expect(guest.explain(PAGE).at(-1)?.verdict).toContain(reason)
  })

  it('ignores bits 134:133, and AW and pointers of a pass-through entry', () => {
    const guest = new Guest()
    guest.startScalable()
    guest.path(FIRST, PAGE, 0x200000n | FS.PAGE, FS.TABLE)
    guest.firstStage(0, 2, FIRST, 0x60n)
    expect(guest.dma(PAGE)).toBe('0x200000')
    guest.store(PASIDS + 64, 0x101n, 2n)
    expect(guest.dma(PAGE, 'w', 1)).toBe('0x400000')
  })
})

describe('the first stage', () => {
  function walk(leaf: bigint, table: bigint = FS.TABLE, flags = 0n): Guest {
    const guest = new Guest()
    guest.startScalable()
    guest.startQueue()
    guest.path(FIRST, PAGE, leaf, table)
    guest.firstStage(0, 2, FIRST, flags)
    guest.firstStage(1, 2, FIRST, flags)
    return guest
  }

  it('needs P, U/S and, to write, R/W at every level', () => {
    expect(walk(0n).dma(PAGE)).toBe('fault 0x71')
    expect(walk(0x200000n | FS.PAGE, FS.P | FS.RW | FS.A).dma(PAGE)).toBe('fault 0x81')
    expect(walk(0x200000n | FS.P | FS.US).dma(PAGE, 'w')).toBe('fault 0x85')
    expect(walk(0x200000n | FS.PAGE, FS.P | FS.US).dma(PAGE, 'w')).toBe('fault 0x85')
    expect(walk(0x200000n | FS.P | FS.US).dma(PAGE)).toBe('0x200000')
  })

  it('lets privileged requests past U/S, and past R/W without WPE', () => {
    const leaf = 0x200000n | FS.P
    expect(walk(leaf, FS.P, 1n).dma(PAGE, 'rp', 1)).toBe('0x200000')
    expect(walk(leaf, FS.P, 1n).dma(PAGE, 'wp', 1)).toBe('0x200000')
    expect(walk(leaf, FS.P, 0x11n).dma(PAGE, 'wp', 1)).toBe('fault 0x85')
    expect(walk(leaf, FS.P, 1n).dma(PAGE, 'r', 1)).toBe('fault 0x81')
  })

  it('does not let a user request use what a privileged one brought into the IOTLB', () => {
    const guest = walk(0x200000n | FS.P, FS.P, 1n)
    expect(guest.dma(PAGE, 'wp', 1)).toBe('0x200000')
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x81')
    expect(guest.dma(PAGE, 'wp', 1)).toBe('0x200000')
    expect(guest.out.hit).toBe(1)
  })

  it('names reserved bits, unreadable tables and addresses that are not canonical', () => {
    expect(walk(0x200000n | FS.PAGE | (1n << 50n)).dma(PAGE)).toBe('fault 0x72')
    const large = walk(0n)
    large.store(FIRST + 0x2000 + 2 * 8, 0x202000n | FS.PAGE | FS.PS)
    expect(large.dma(PAGE)).toBe('fault 0x72')
    const root = walk(0n)
    root.firstStage(0, 2, 0x8000_0000)
    expect(root.dma(PAGE)).toBe('fault 0x73')
    const lower = walk(0n)
    lower.store(FIRST, 0x8000_0000n | FS.TABLE)
    expect(lower.dma(PAGE)).toBe('fault 0x70')
    expect(walk(0n).dma(1n << 47n)).toBe('fault 0x80')
    expect(walk(0n).dma((1n << 64n) - (1n << 48n))).toBe('fault 0x80')
    expect(walk(0n).dma(0xffff_8000_0000_0000n)).toBe('fault 0x71')
  })

  it('maps 2 MiB and 1 GiB, ignoring PAT in bit 12, and caches them whole', () => {
    const guest = walk(0n)
    guest.store(FIRST + 0x2000 + 2 * 8, 0x601000n | FS.PAGE | FS.PS)
    expect(guest.dma(PAGE + 0x12345n)).toBe('0x612345')
    expect(guest.out.leafLg2).toBe(21)
    guest.store(FIRST + 0x1000, 0x4000_0000n | FS.PAGE | FS.PS)
    guest.queue(IQ.iotlbAll)
    expect(guest.dma(0x3fff_fff8n)).toBe('0x7ffffff8')
    expect(guest.dma(0n)).toBe('0x40000000')
    expect(guest.out.hit).toBe(1)
  })

  it('sets A on the way, D for a write, each once, and D later when a cached page is first written', () => {
    const leaf = FIRST + 0x3000
    const guest = walk(0x200000n | FS.P | FS.RW | FS.US, FS.P | FS.RW | FS.US)
    expect(guest.dma(PAGE)).toBe('0x200000')
    expect(guest.load(FIRST)).toBe(0x101000n | FS.TABLE)
    expect(guest.load(leaf)).toBe(0x200000n | FS.TABLE)
    expect(guest.dma(PAGE, 'w')).toBe('0x200000')
    expect(guest.load(leaf)).toBe(0x200000n | FS.PAGE)
    expect(guest.dma(PAGE, 'w')).toBe('0x200000')
    expect(guest.out.hit).toBe(1)
    guest.store(leaf, 0x200000n | FS.TABLE)
    expect(guest.dma(PAGE, 'w')).toBe('0x200000')
    expect(guest.load(leaf)).toBe(0x200000n | FS.TABLE)
  })

  it('never sets D for a request that faults', () => {
    const toInterrupts = walk(0xfee00000n | FS.P | FS.RW | FS.US)
    expect(toInterrupts.dma(PAGE, 'w')).toBe('fault 0x87')
    expect(toInterrupts.load(FIRST + 0x3000) & FS.D).toBe(0n)
    const readOnly = walk(0x200000n | FS.P | FS.US)
    expect(readOnly.dma(PAGE, 'w')).toBe('fault 0x85')
    expect(readOnly.load(FIRST + 0x3000) & FS.D).toBe(0n)
  })

  it('sets EA with A where EAFE asks for it', () => {
    const guest = walk(0x200000n | FS.PAGE, FS.TABLE, 0x80n)
    expect(guest.dma(PAGE)).toBe('0x200000')
    expect(guest.load(FIRST)).toBe(0x101000n | FS.TABLE | FS.EA)
    expect(guest.load(FIRST + 0x3000)).toBe(0x200000n | FS.PAGE | FS.EA)
  })

  it('faults where a flag is needed in tables that are not snooped, and only there', () => {
    const guest = walk(0x200000n | FS.TABLE)
    guest.store(PASIDS + 8, 2n)
    expect(guest.dma(PAGE)).toBe('0x200000')
    expect(guest.dma(PAGE, 'w')).toBe('fault 0x90')
  })

  it('walks five levels where FSPM asks for them', () => {
    const guest = new Guest({ preset: 'vtd-scalable-57' })
    guest.startScalable()
    guest.path(FIRST, PAGE, 0x200000n | FS.PAGE, FS.TABLE)
    guest.store(0x180000 + 255 * 8, BigInt(FIRST) | FS.TABLE)
    guest.firstStage(0, 2, 0x180000, 4n)
    expect(guest.dma((255n << 48n) + PAGE)).toBe('0x200000')
    expect(guest.dma(1n << 56n)).toBe('fault 0x80')
  })
})

describe('the second stage', () => {
  function walk(leaf: bigint, table: bigint = SS.RW, flags = 0n): Guest {
    const guest = new Guest()
    guest.startScalable()
    guest.path(SECOND, PAGE, leaf, table)
    guest.secondStage(0, 3, SECOND, flags)
    return guest
  }

  it('tells an absent entry from a missing right', () => {
    expect(walk(0x300000n).dma(PAGE)).toBe('fault 0x79')
    expect(walk(0x300000n | SS.R).dma(PAGE, 'w')).toBe('fault 0x85')
    expect(walk(0x300000n | SS.W).dma(PAGE)).toBe('fault 0x86')
    expect(walk(0x300000n | SS.W, SS.R).dma(PAGE)).toBe('fault 0x79')
    expect(walk(0x300000n | SS.R).dma(PAGE, 'rw')).toBe('fault 0x85')
    expect(walk(0x300000n | SS.W).dma(PAGE, 'w')).toBe('0x300000')
  })

  it('lets zero-length reads through on a write-only page', () => {
    const guest = walk(0x300000n | SS.W)
    expect(guest.dma(PAGE, '')).toBe('0x300000')
    expect(guest.dma(PAGE, '')).toBe('0x300000')
    expect(guest.dma(PAGE, 'r')).toBe('fault 0x86')
  })

  it('names reserved bits, unreadable tables and inputs that are too wide', () => {
    expect(walk(0x300000n | SS.RW | (1n << 62n)).dma(PAGE)).toBe('fault 0x7a')
    expect(walk(0x300000n | (1n << 62n)).dma(PAGE)).toBe('fault 0x79')
    expect(walk(0x300000n | SS.RW, SS.RW | 0x800n).dma(PAGE)).toBe('fault 0x7a')
    expect(walk(0x300000n | SS.RW | 0x800n).dma(PAGE)).toBe('0x300000')
    const root = walk(0n)
    root.secondStage(0, 3, 0x8000_0000)
    expect(root.dma(PAGE)).toBe('fault 0x7b')
    const lower = walk(0n)
    lower.store(SECOND, 0x8000_0000n | SS.RW)
    expect(lower.dma(PAGE)).toBe('fault 0x78')
    expect(walk(0n).dma(1n << 48n)).toBe('fault 0x84')
  })

  it('leaves bits 8 and 9 alone without SSADE, and sets them with it', () => {
    const off = walk(0x300000n | SS.RW)
    off.dma(PAGE, 'w')
    expect(off.load(SECOND + 0x3000)).toBe(0x300000n | SS.RW)
    const on = walk(0x300000n | SS.RW, SS.RW, 0x200n)
    on.dma(PAGE)
    expect(on.load(SECOND)).toBe(0x111000n | SS.RW | SS.A)
    expect(on.load(SECOND + 0x3000)).toBe(0x300000n | SS.RW | SS.A)
    on.dma(PAGE, 'w')
    expect(on.load(SECOND + 0x3000)).toBe(0x300000n | SS.RW | SS.A | SS.D)
    on.store(PASIDS + 64, BigInt(SECOND) | 0x289n, 3n, 0n)
    on.store(SECOND + 0x3000, 0x300000n | SS.RW)
    expect(on.dma(PAGE, 'r', 1)).toBe('fault 0x7c')
  })

  it('in legacy mode has the legacy reasons', () => {
    const legacy = (leaf: bigint, access: string, iova = PAGE): string => {
      const guest = new Guest({ preset: 'vtd-legacy' })
      guest.store(0x1000, 0x2001n, 0n)
      guest.store(0x2000 + SID * 16, BigInt(SECOND) | 1n, 0x302n)
      guest.path(SECOND, PAGE, leaf, SS.RW)
      guest.start(MODE.LEGACY)
      return guest.dma(iova, access)
    }
    expect(legacy(0n, 'w')).toBe('fault 0x5')
    expect(legacy(0n, 'r')).toBe('fault 0x6')
    expect(legacy(0n, 'rw')).toBe('fault 0x5')
    expect(legacy(0x300000n | SS.RW | (1n << 62n), 'r')).toBe('fault 0xc')
    expect(legacy(0xfee00000n | SS.RW, 'w')).toBe('fault 0xe')
    expect(legacy(0n, 'r', 1n << 48n)).toBe('fault 0x4')
    expect(legacy(0x300000n | SS.RW, 'rw')).toBe('0x300000')
  })
})

describe('modes', () => {
  it('abort blocks and records everything', () => {
    const guest = new Guest()
    guest.start(MODE.ABORT)
    expect(guest.dma(PAGE)).toBe('fault 0x33')
    expect(guest.dma(PAGE, 'w', 1)).toBe('fault 0x33')
    expect(guest.read(REG.FSTS)).toBe(2n)
  })

  it('that the unit lacks are 0x30', () => {
    const guest = new Guest({ preset: 'vtd-legacy' })
    guest.start(MODE.SCALABLE)
    expect(guest.dma(PAGE)).toBe('fault 0x30')
    guest.start(MODE.ABORT)
    expect(guest.dma(PAGE)).toBe('fault 0x30')
    guest.start(2n)
    expect(guest.dma(PAGE)).toBe('fault 0x30')
  })

  it('off passes nothing above the host address width', () => {
    const guest = new Guest()
    expect([guest.dma((1n << 48n) - 1n), guest.dma(1n << 48n), guest.dma(1n << 63n)]).toEqual([
      '0xffffffffffff',
      'aborted',
      'aborted',
    ])
  })

  it('off passes addresses through', () => {
    const guest = new Guest()
    expect(guest.dma(0x12_3456_7890n, 'w', 5)).toBe('0x1234567890')
  })
})

describe('the interrupt range', () => {
  function ready(): Guest {
    const guest = new Guest()
    guest.startScalable()
    guest.passThrough(1, 2)
    return guest
  }

  it('takes 4-byte writes and zero-length reads without PASID, and nothing else', () => {
    const guest = ready()
    expect(guest.dma(0xfee01000n, 'w', -1, SID, 4)).toBe('0xfee01000')
    expect(guest.dma(0xfee01000n, '', -1, SID)).toBe('0xfee01000')
    expect(guest.dma(0xfee01000n, 'w', -1, SID, 8)).toBe('fault 0x29')
    expect(guest.dma(0xfee01000n, 'r', -1, SID, 4)).toBe('fault 0x29')
    expect(guest.dma(0xfee01000n, 'w')).toBe('fault 0x59')
  })

  it('is refused to a pass-through PASID, though its neighbours are cached', () => {
    const guest = ready()
    expect(guest.dma(0xfef00000n, 'w', 1)).toBe('0xfef00000')
    expect(guest.dma(0xfee00000n, 'w', 1)).toBe('fault 0x87')
    expect(guest.dma(0xfedff000n, 'w', 1)).toBe('0xfedff000')
    expect(guest.dma(1n << 48n, 'w', 1)).toBe('fault 0x83')
  })
})
