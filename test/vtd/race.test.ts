import { describe, expect, it } from 'vitest'
import { MEMORY } from '../../hw-model/memory/index.js'
import { FS, Guest, PASIDS, REG } from './guest.js'

const PAGE = 0x40_0000n
const FIRST = 0x100000
const LEAF = FIRST + 0x3000
const CLEAN = FS.P | FS.RW | FS.US

/** A guest whose CPU stores `entry` into the leaf just before the unit's n-th flag update lands. */
function racing(nth: number, entry: bigint): Guest {
  const guest = new Guest()
  guest.startScalable()
  guest.path(FIRST, PAGE, 0x200000n | CLEAN, FS.TABLE)
  guest.firstStage(0, 2, FIRST)
  const { memory } = guest
  const update = memory.updateFlags.bind(memory)
  let updates = 0
  memory.updateFlags = (pa, expected, next, hi) => {
    if (++updates === nth) guest.store(LEAF, entry)
    return update(pa, expected, next, hi)
  }
  return guest
}

describe('a flag update that loses its race with a CPU', () => {
  it('reads the entry again and uses the new one', () => {
    const guest = racing(1, 0x300000n | CLEAN)
    expect(guest.dma(PAGE)).toBe('0x300000')
    expect(guest.load(LEAF)).toBe(0x300000n | CLEAN | FS.A)
  })

  it('never brings an unmapped page back to life', () => {
    const guest = racing(1, 0n)
    expect(guest.dma(PAGE, 'w')).toBe('fault 0x71')
    expect(guest.load(LEAF)).toBe(0n)
  })

  it('checks the rights of the new entry before the dirty flag', () => {
    // The first update sets A, the second D: the page becomes read-only between the two.
    const guest = racing(2, 0x200000n | FS.P | FS.US | FS.A)
    expect(guest.dma(PAGE, 'w')).toBe('fault 0x85')
    expect(guest.load(LEAF)).toBe(0x200000n | FS.P | FS.US | FS.A)
  })

  it('does not dirty a page that users have lost meanwhile', () => {
    const guest = racing(2, 0x200000n | FS.P | FS.RW | FS.A)
    expect(guest.dma(PAGE, 'w')).toBe('fault 0x81')
    expect(guest.load(LEAF)).toBe(0x200000n | FS.P | FS.RW | FS.A)
  })
})

describe('a flag update that cannot be made', () => {
  it('is 0x91, and an entry that has its flags is never written', () => {
    const guest = racing(0, 0n)
    guest.memory.updateFlags = () => MEMORY.ABORT
    expect(guest.dma(PAGE)).toBe('fault 0x91')
    guest.store(LEAF, 0x200000n | FS.PAGE)
    expect(guest.dma(PAGE, 'w')).toBe('0x200000')
  })
})

describe('an entry of 128 bits that a CPU replaces by one store', () => {
  it('is read old or new, never the lower half of one and the upper half of the other', () => {
    const guest = new Guest()
    guest.startScalable()
    guest.path(FIRST, PAGE, 0x200000n | FS.PAGE, FS.TABLE)
    guest.firstStage(0, 2, FIRST)
    const { memory } = guest
    const load = memory.loadWord.bind(memory)
    let loads = 0
    memory.loadWord = (pa) => {
      const status = load(pa)
      // Absent, and what the upper half holds is software's own affair then.
      if (pa === PASIDS && ++loads === 1) {
        const { lo, hi } = memory
        guest.store(PASIDS, 0x40n, 1n << 31n)
        memory.lo = lo
        memory.hi = hi
      }
      return status
    }
    expect(guest.dma(PAGE)).toBe('fault 0x59')
  })

  /** Memory in which something happens after each load of one word; it may change what that answers. */
  function watched(at: number, happen: (guest: Guest, loads: number, status: number) => number): Guest {
    const guest = new Guest()
    guest.startScalable()
    guest.path(FIRST, PAGE, 0x200000n | FS.PAGE, FS.TABLE)
    guest.firstStage(0, 2, FIRST)
    const { memory } = guest
    const load = memory.loadWord.bind(memory)
    let loads = 0
    memory.loadWord = (pa) => (pa === at ? happen(guest, ++loads, load(pa)) : load(pa))
    return guest
  }

  it('cannot be read while it never holds still, nor when its second look finds nothing', () => {
    const restless = watched(PASIDS, (guest, loads, status) => {
      guest.memory.hi = loads
      return status
    })
    expect(restless.dma(PAGE)).toBe('fault 0x58')
    // Such a fault is never silenced.
    expect(restless.read(REG.FSTS)).toBe(2n)
    const gone = watched(PASIDS, (_, loads, status) => (loads === 2 ? MEMORY.ABORT : status))
    expect(gone.dma(PAGE)).toBe('fault 0x58')
  })

  it('as a piece of a longer one may stand beside a piece of another time', () => {
    // The third word is read after both looks at the first piece: by then the tables are others.
    const guest = watched(PASIDS, (g, loads, status) => {
      const { lo, hi } = g.memory
      if (loads === 2) g.store(PASIDS + 16, 0x130000n)
      g.memory.lo = lo
      g.memory.hi = hi
      return status
    })
    guest.path(0x130000, PAGE, 0x300000n | FS.PAGE, FS.TABLE)
    expect(guest.dma(PAGE)).toBe('0x300000')
  })
})
