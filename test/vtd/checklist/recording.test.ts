/** How faults are recorded and told, step by step. [VTD 7.2.1 Primary Fault Logging, 7.3 Fault Event] */

import { describe, expect, it } from 'vitest'
import { CAP_48, QIE, QUEUE, REG, TE } from './guest.js'
import { PASID, VA, World } from './world.js'

const F = 1n << 31n

/** A unit with some number of fault records, whose function has no PASID table entry. */
function faulty(records = 8, cap = CAP_48): World {
  const nfr = BigInt(records - 1) << 40n
  const w = new World('first', { cap: (cap & ~(0xffn << 40n)) | nfr })
  w.clear(w.entry(), 1n)
  return w.go()
}

const page = (i: number): bigint => BigInt(i) << 12n
/** FI of each record, or '-' where F is 0. */
function held(w: World, count: number, base: number = REG.FRCD): string[] {
  return Array.from({ length: count }, (_, i) => {
    const at = base + 16 * i
    return w.get64(at + 8) >> 63n === 1n ? (w.get64(at) >> 12n).toString(16) : '-'
  })
}

describe('[VTD 7.2.1] faults are recorded', () => {
  it('in turn, from record 0 on', () => {
    const w = faulty(4)
    for (let i = 1; i <= 3; i++) w.dma(page(i))
    expect(held(w, 4)).toEqual(['1', '2', '3', '-'])
    // PPF, and FRI 0.
    expect(w.get32(REG.FSTS)).toBe(2n)
  })

  it('each, though of one source-id: none is merged', () => {
    const w = faulty()
    for (let i = 0; i < 2; i++) w.dma(page(1))
    expect(held(w, 3)).toEqual(['1', '1', '-'])
  })

  it('until the next record is pending: that sets PFO, and the record stays as it is', () => {
    const w = faulty(2)
    for (let i = 1; i <= 3; i++) w.dma(page(i))
    expect(held(w, 2)).toEqual(['1', '2'])
    expect(w.get32(REG.FSTS)).toBe(3n)
  })

  it('not while PFO is set, though a record is free', () => {
    const w = faulty(2)
    for (let i = 1; i <= 3; i++) w.dma(page(i))
    w.set32(REG.FRCD + 12, F)
    w.set32(REG.FRCD + 28, F)
    expect(w.get32(REG.FSTS) & 3n).toBe(1n)
    w.dma(page(4))
    expect(held(w, 2)).toEqual(['-', '-'])
    w.set32(REG.FSTS, 1n)
    w.dma(page(5))
    expect(held(w, 2)).toEqual(['5', '-'])
  })

  it('from the index on at which they overflowed, once PFO is cleared', () => {
    const w = faulty(4)
    for (let i = 1; i <= 5; i++) w.dma(page(i))
    w.set32(REG.FRCD + 12, F)
    w.set32(REG.FRCD + 28, F)
    w.set32(REG.FSTS, 1n)
    for (let i = 6; i <= 8; i++) w.dma(page(i))
    // Records 0 and 1 were free; then record 2 was pending, and that is an overflow again.
    expect(held(w, 4)).toEqual(['6', '7', '3', '4'])
    expect(w.get32(REG.FSTS) & 1n).toBe(1n)
  })

  it('modulo NFR + 1', () => {
    const w = faulty(3)
    for (let i = 1; i <= 7; i++) {
      w.dma(page(i))
      expect(held(w, 3).indexOf(i.toString(16))).toBe((i - 1) % 3)
      expect(w.get32(REG.FSTS)).toBe(2n | (BigInt((i - 1) % 3) << 8n))
      w.faults()
    }
  })

  it('in one record alone, if there is only one', () => {
    const w = faulty(1)
    w.dma(page(1))
    w.dma(page(2))
    expect([held(w, 2), w.get32(REG.FSTS)]).toEqual([['1', '-'], 3n])
    w.set32(REG.FRCD + 12, F)
    w.set32(REG.FSTS, 1n)
    w.dma(page(3))
    expect([held(w, 2), w.get32(REG.FSTS)]).toEqual([['3', '-'], 2n])
  })

  it('in as many as 256, where FRO says', () => {
    const w = faulty(256, (CAP_48 & ~(0x3ffn << 24n)) | (0x100n << 24n))
    for (let i = 1; i <= 257; i++) w.dma(page(i))
    expect(held(w, 256, 0x1000)).toEqual(Array.from({ length: 256 }, (_, i) => (i + 1).toString(16)))
    expect(w.get32(REG.FSTS)).toBe(3n)
    expect(w.faults().length).toBe(256)
    expect(w.unit.registerBytes).toBeGreaterThanOrEqual(0x2000)
  })

  it('from record 0 on after translation has been off', () => {
    const w = faulty(4)
    w.dma(page(1))
    w.faults()
    w.disable(TE)
    w.enable(TE)
    w.dma(page(2))
    expect(held(w, 4)).toEqual(['2', '-', '-', '-'])
  })

  it('and requests are blocked all the same when they are not', () => {
    const w = faulty(1)
    for (let i = 1; i <= 4; i++) expect(w.dma(page(i))).toBe('fault 59')
    w.or(w.entry(), 2n)
    expect(w.dma(page(5))).toBe('fault 59')
  })
})

describe('[VTD 11.4.7.6] a fault record', () => {
  it('loses F by a write of 1 to it, alone; nothing else can be written', () => {
    const w = faulty()
    w.dma(VA, 'r')
    const [low, high] = [w.get64(REG.FRCD), w.get64(REG.FRCD + 8)]
    w.set64(REG.FRCD, ~0n & 0xffff_ffff_ffff_ffffn)
    w.set32(REG.FRCD + 8, 0xffff_ffffn)
    w.set32(REG.FRCD + 12, 0x7fff_ffffn)
    expect([w.get64(REG.FRCD), w.get64(REG.FRCD + 8)]).toEqual([low, high])
    w.set32(REG.FRCD + 12, F)
    expect(w.get64(REG.FRCD + 8) >> 63n).toBe(0n)
  })

  it('loses F by a write of all 64 bits too', () => {
    const w = faulty()
    w.dma(VA)
    w.set64(REG.FRCD + 8, 1n << 63n)
    expect([w.get64(REG.FRCD + 8) >> 63n, w.get32(REG.FSTS)]).toEqual([0n, 0n])
  })

  it('has a T1 and a T2 for each kind of request', () => {
    const w = faulty()
    for (const access of ['r', 'w', 'rw', '']) w.dma(VA, access)
    expect(w.faults().map((words) => words.split(' ')[1])).toEqual([
      'c00000590000021a',
      '800000590000021a',
      'c00000591000021a',
      'c00000590000021a',
    ])
  })

  it('has no PASID, PRIV or EXE of a request without PASID', () => {
    const w = faulty()
    w.dma(VA, 'rxp')
    expect(w.faults()).toEqual(['0000123456789000 c00000590000021a'])
  })

  it('has PASID, PRIV and EXE of a request with PASID; EXE of reads alone', () => {
    const w = new World('first').go()
    w.clear(w.entry(PASID), 1n)
    w.dma(VA, 'rxp', { pasid: PASID })
    w.dma(VA, 'wp', { pasid: PASID })
    w.dma(VA, 'rw', { pasid: 0x1fff })
    expect(w.faults().map((words) => words.split(' ')[1])).toEqual([
      'c0004559e000021a',
      '80004559a000021a',
      'c01fff519000021a',
    ])
  })

  it('has no address bit beyond the widest tables of SAGAW', () => {
    const fi = (sagaw: bigint, mgaw: bigint, haw: number): string => {
      const cap = (CAP_48 & ~((0x1fn << 8n) | (0x3fn << 16n))) | (sagaw << 8n) | (mgaw << 16n)
      const w = new World('first', { cap, haw })
      w.clear(w.entry(), 1n)
      w.go().dma(0xffff_ffff_ffff_f123n)
      return w.faults()[0].split(' ')[0]
    }
    expect(fi(0x2n, 38n, 39)).toBe('0000007ffffff000')
    expect(fi(0x6n, 47n, 48)).toBe('0000fffffffff000')
    expect(fi(0xen, 56n, 52)).toBe('01fffffffffff000')
  })
})

describe('[VTD 11.4.7.1] FSTS', () => {
  it('has PPF as long as any record is pending, and cannot be told otherwise', () => {
    const w = faulty()
    for (let i = 1; i <= 3; i++) w.dma(page(i))
    w.set32(REG.FSTS, 0xffff_ffffn)
    expect(w.get32(REG.FSTS)).toBe(2n)
    for (const at of [28, 12]) {
      w.set32(REG.FRCD + at, F)
      expect(w.get32(REG.FSTS) & 2n).toBe(2n)
    }
    w.set32(REG.FRCD + 44, F)
    expect(w.get32(REG.FSTS) & 2n).toBe(0n)
  })

  it('has in FRI the record that was the first when PPF was set', () => {
    const w = faulty()
    w.dma(page(1))
    w.dma(page(2))
    w.set32(REG.FRCD + 12, F)
    w.dma(page(3))
    expect(w.get32(REG.FSTS)).toBe(2n)
    w.faults()
    w.set32(REG.FRCD + 28, F)
    w.set32(REG.FRCD + 44, F)
    w.dma(page(4))
    expect(w.get32(REG.FSTS)).toBe(0x302n)
  })

  it('loses PFO by a write of 1', () => {
    const w = faulty(1)
    w.dma(page(1))
    w.dma(page(2))
    w.set32(REG.FSTS, 0n)
    expect(w.get32(REG.FSTS)).toBe(3n)
    w.set32(REG.FSTS, 1n)
    expect(w.get32(REG.FSTS)).toBe(2n)
  })
})

const IM = 1n << 31n
const IP = 1n << 30n
const MESSAGE = '0xfee01004 0x4041'

/** A unit with its fault event unmasked, or not. */
function telling(records = 8, control = 0n): World {
  const w = faulty(records)
  w.set32(REG.FEDATA, 0x4041n)
  w.set32(REG.FEADDR, 0xfee0_1004n)
  w.set32(REG.FECTL, control)
  return w
}

/** A descriptor that is none: IQE. */
const spoilQueue = (w: World): void => w.queue(0xfn, 0n)

describe('[VTD 7.3] a fault event', () => {
  it('is one message for the first of many faults', () => {
    const w = telling()
    for (let i = 1; i <= 3; i++) w.dma(page(i))
    w.settle()
    expect([w.messages, w.get32(REG.FECTL)]).toEqual([[MESSAGE], 0n])
  })

  it('is no message of a fault that FPD silences', () => {
    const w = telling()
    w.or(w.entry(), 2n)
    w.dma(VA)
    w.settle()
    expect([w.messages, w.get32(REG.FSTS)]).toEqual([[], 0n])
  })

  it('comes again once no cause is left', () => {
    const w = telling()
    w.dma(page(1))
    w.faults()
    w.dma(page(2))
    w.settle()
    expect(w.messages).toEqual([MESSAGE, MESSAGE])
  })

  it('does not come again while another record is pending, nor at an overflow', () => {
    const w = telling(2)
    w.dma(page(1))
    w.dma(page(2))
    w.set32(REG.FRCD + 12, F)
    w.dma(page(3))
    w.dma(page(4))
    w.settle()
    expect([w.get32(REG.FSTS) & 3n, w.messages]).toEqual([3n, [MESSAGE]])
  })

  it('does not come while PFO is all that is left', () => {
    const w = telling(1)
    w.dma(page(1))
    w.dma(page(2))
    w.set32(REG.FRCD + 12, F)
    spoilQueue(w)
    w.settle()
    expect([w.get32(REG.FSTS), w.messages]).toEqual([0x11n, [MESSAGE]])
  })

  it('comes of an error of the queue; a fault then adds none, and the reverse', () => {
    const w = telling()
    spoilQueue(w)
    w.dma(page(1))
    w.settle()
    expect([w.get32(REG.FSTS), w.messages]).toEqual([0x12n, [MESSAGE]])
    const other = telling()
    other.dma(page(1))
    spoilQueue(other)
    other.settle()
    expect([other.get32(REG.FSTS), other.messages]).toEqual([0x12n, [MESSAGE]])
  })

  it('waits in IP while IM is set, and comes when IM is cleared', () => {
    const w = telling(8, IM)
    w.dma(VA)
    w.settle()
    expect([w.messages, w.get32(REG.FECTL)]).toEqual([[], IM | IP])
    w.set32(REG.FECTL, 0n)
    expect([w.messages, w.get32(REG.FECTL)]).toEqual([[MESSAGE], 0n])
  })

  it('is forgotten when the last cause is cleared while it waits', () => {
    const w = telling(1, IM)
    w.dma(page(1))
    w.dma(page(2))
    spoilQueue(w)
    w.settle()
    // The queue goes on from the descriptor that stopped it, so that is mended first.
    w.store(QUEUE, 0x45n)
    w.set32(REG.FSTS, 0x10n)
    expect(w.get32(REG.FECTL)).toBe(IM | IP)
    w.set32(REG.FRCD + 12, F)
    expect(w.get32(REG.FECTL)).toBe(IM | IP)
    w.set32(REG.FSTS, 1n)
    expect(w.get32(REG.FECTL)).toBe(IM)
    w.set32(REG.FECTL, 0n)
    expect(w.messages).toEqual([])
  })

  it('is forgotten when the last record is cleared while it waits', () => {
    const w = telling(8, IM)
    w.dma(page(1))
    w.dma(page(2))
    w.settle()
    w.faults()
    expect(w.get32(REG.FECTL)).toBe(IM)
  })

  it('cannot be made by software: IP is read-only', () => {
    const w = telling(8, IM)
    w.set32(REG.FECTL, IM | IP)
    expect(w.get32(REG.FECTL)).toBe(IM)
    w.dma(VA)
    w.settle()
    w.set32(REG.FECTL, IM)
    expect(w.get32(REG.FECTL)).toBe(IM | IP)
    w.set32(REG.FECTL, 0n)
    w.set32(REG.FECTL, IM)
    w.set32(REG.FECTL, 0n)
    expect(w.messages).toEqual([MESSAGE])
  })

  it('is masked after reset, and comes of none that was before', () => {
    const w = telling()
    w.dma(VA)
    w.settle()
    w.unit.reset()
    expect([w.get32(REG.FECTL), w.get32(REG.GSTS) & (TE | QIE)]).toEqual([IM, 0n])
    w.set32(REG.FECTL, 0n)
    expect(w.messages.length).toBe(1)
  })
})
