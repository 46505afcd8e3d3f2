/** What QEMU's SMMUv3 is known to do wrong, by its code and by reports, and what this unit does instead. */

import { describe, expect, it } from 'vitest'
import { COMMANDS, EVENTS, Guest, type GuestOptions, hex, RAM, SID, STREAM_TABLE, VA } from './guest.js'
import { GLOBAL, Planted } from './planted.js'
import { BLOCK, GUEST, PAGE, S2_BLOCK, S2_PAGE, World } from './tables.js'

const S1 = 0b101
const NESTED = 0b111

/** CMDQ_CONS.ERR and GERROR.CMDQ_ERR after one command. */
function refused(low: bigint, high = 0n, options: GuestOptions = {}): boolean {
  const g = new Guest(options)
  g.command(low, high)
  expect(g.get32(0x9c)).toBe(g.get32(0x60) === 0 ? 1 : 0x0100_0000)
  return g.get32(0x60) === 1
}

const without = (...bits: number[]): GuestOptions => ({
  deny: { IDR0: bits.reduce((all, bit) => all | (1 << bit), 0) },
})

describe('unlike QEMU, a command', () => {
  it('TLBI_NH_VA drops a global entry of another ASID: nG counts', () => {
    const g = new Planted({ global: { va: 0x1000n, asid: 8n, leaf: GLOBAL }, other: { va: 0x1_1000n, asid: 8n } })
    expect(g.gone((7n << 48n) | (5n << 32n) | 0x12n, 0x1001n, (7n << 48n) | (5n << 32n) | 0x12n, 0x1_1001n)).toEqual([
      'global',
    ])
  })

  it('for EL1 leaves what EL2 has: translations are tagged with their StreamWorld', () => {
    const garden = { EL1: { va: 0x1000n }, EL2: { va: 0x1000n, strw: 2n, leaf: GLOBAL } }
    expect(new Planted(garden, { offer: { IDR0: 1 << 9 } }).gone(0x30n, 0n)).toEqual(['EL1'])
  })

  it('for EL2 is CERROR_ILL in a unit without EL2', () => {
    for (const opcode of [0x20n, 0x21n, 0x22n, 0x23n]) expect(refused(opcode, 0n, without(9))).toBe(true)
  })

  it('for EL3 or the Secure world is CERROR_ILL', () => {
    for (const opcode of [0x18n, 0x1an, 0x50n, 0x51n, 0x52n, 0x53n, 0x58n, 0x5an, 0x60n]) {
      expect(refused(opcode), hex(opcode)).toBe(true)
    }
  })

  it('RESUME or STALL_TERM is CERROR_ILL in a unit that cannot stall', () => {
    const terminate: GuestOptions = { deny: { IDR0: 3 << 24, IDR5: -65536 }, offer: { IDR0: 1 << 24 } }
    expect([refused(0x44n, 0n, terminate), refused(0x45n, 0n, terminate)]).toEqual([true, true])
  })

  it('PRI_RESP or ATC_INV is CERROR_ILL in a unit without PRI and ATS', () => {
    expect([refused(0x41n, 0x2000n, without(10, 16, 23)), refused(0x40n, 0n, without(10, 16, 23))]).toEqual([
      true,
      true,
    ])
  })

  it('PRI_RESP has its code in bits 13:12 of word 1', () => {
    const g = new Guest({ offer: { IDR0: (1 << 10) | (1 << 16) } })
    g.command((0x10n << 32n) | 0x41n, 0x2003n, (0x10n << 32n) | 0x41n, 0x1003n)
    expect([g.told, g.get32(0x60)]).toEqual([['pages 16 -1 3 0', 'pages 16 -1 3 1'], 0])
    expect(refused(0x41n, 0x3003n, { offer: { IDR0: (1 << 10) | (1 << 16) } })).toBe(true)
  })

  it('that names a stream is CERROR_ILL with SSec, not CFGI_* alone', () => {
    for (const opcode of [0x01n, 0x02n, 0x03n, 0x04n, 0x05n, 0x06n]) {
      expect(refused(opcode | 0x400n), hex(opcode)).toBe(true)
    }
  })

  it('SYNC with CS 3 is CERROR_ILL', () => {
    expect(refused(0x3046n)).toBe(true)
  })

  it('with a range of one granule and no level is CERROR_ILL', () => {
    expect(refused(0x12n, 0x1400n)).toBe(true)
  })

  it('for an address drops every entry that holds it, of whatever level', () => {
    const garden = {
      page: { va: 0x4000_0000n },
      'global block': { va: 0x4000_1000n, level: 2, asid: 8n, leaf: GLOBAL },
      other: { va: 0x4020_0000n },
    }
    expect(new Planted(garden).gone((7n << 48n) | (5n << 32n) | 0x12n, 0x4000_0001n)).toEqual(['page', 'global block'])
  })
})

describe('unlike QEMU, a translation', () => {
  it('is refused to an unprivileged master by AP, UXN, PXN, PAN, WXN, and XN of stage 2', () => {
    const ended = (entry: bigint, cd: bigint, access: (w: World) => string): string => {
      const w = new World(S1)
      w.one.set(VA, 3, w.page | entry)
      w.cd[0] |= cd
      w.apply()
      return access(w)
    }
    const kernel = PAGE & ~0x40n
    expect(ended(kernel, 0n, (w) => w.read(VA))).toBe('abort')
    expect(ended(kernel, 0n, (w) => w.read(VA, { priv: true }))).not.toBe('abort')
    expect(ended(PAGE | (1n << 54n), 0n, (w) => w.fetch(VA))).toBe('abort')
    expect(ended(kernel | (1n << 53n), 0n, (w) => w.fetch(VA, { priv: true }))).toBe('abort')
    expect(ended(PAGE, 1n << 40n, (w) => w.read(VA, { priv: true }))).toBe('abort')
    expect(ended(PAGE, 1n << 36n, (w) => w.fetch(VA))).toBe('abort')
    const two = new World(0b110)
    two.two.set(0x7_0000_0000n, 1, S2_BLOCK | (2n << 53n))
    expect([two.fetch(0x7_0000_0000n), two.read(0x7_0000_0000n)]).toEqual(['abort', '0x0'])
  })

  it('is measured by the output size at tables too, before they are followed', () => {
    const w = new World(S1)
    w.cd[0] &= ~(7n << 32n)
    w.one.set(VA, 1, 0x1_0000_0003n)
    w.apply()
    expect([w.read(VA), w.kinds()]).toEqual(['abort', ['0x11']])
  })

  it('adds up APTable over every level above it', () => {
    const w = new World(S1)
    w.one.set(VA, 1, 0n)
    w.one.set(VA, 3, w.page | PAGE)
    const top = w.one.root + 0x24n * 8n
    w.store(top, w.load(top) | (2n << 61n))
    w.forget()
    expect([w.write(VA), w.read(VA)]).toEqual(['abort', hex(w.page + 0xabcn)])
  })

  it('takes a page with DBM as one that hardware makes dirty', () => {
    const w = new World(S1, { deny: { IDR0: 3 << 6 }, offer: { IDR0: 2 << 6 } })
    const at = w.one.set(VA, 3, w.page | PAGE | 0x80n | (1n << 51n))
    w.cd[0] |= 3n << 42n
    w.apply()
    expect([w.write(VA), w.load(at) & 0x80n]).toEqual([hex(w.page + 0xabcn), 0n])
  })

  it('takes each entry of a contiguous run as it is', () => {
    const w = new World(S1)
    w.one.set(0x1_0000n, 3, 0x5000_0000n | PAGE | (1n << 52n))
    w.one.set(0x1_1000n, 3, 0x5000_1000n | PAGE | (1n << 52n))
    expect([w.read(0x1_0008n), w.read(0x1_1008n)]).toEqual(['0x50000008', '0x50001008'])
  })

  it('finds TTB0 through stage 2 at each walk: a moved table is found without CMD_CFGI_CD', () => {
    const w = new World(NESTED)
    const [here, there] = [w.alloc(), w.alloc()]
    for (let i = 0n; i < 512n; i++) w.store(there + i * 8n, w.load(w.one.root + i * 8n))
    const place = w.two.set(0x7_0000_0000n, 3, here | S2_PAGE)
    w.cd[1] = 0x7_0000_0000n
    w.apply()
    expect(w.read(VA)).toBe('abort')
    w.store(place, there | S2_PAGE)
    w.command((5n << 32n) | 0x2an, 0x7_0000_0000n, (5n << 32n) | 0x28n, 0n, 0x46n, 0n)
    expect(w.read(VA)).toBe(hex(w.page + 0xabcn))
  })

  it('finds each entry of a table through stage 2, not the table alone', () => {
    const w = new World(NESTED)
    // A root of 64 KiB whose pages stand in reverse order behind stage 2; one block of 512 MiB in its second half.
    w.alloc(0x1_0000n)
    const root = w.alloc(0x1_0000n)
    for (let at = root; at < root + 0x1_0000n; at += 0x1000n)
      w.two.set(0x7_0000_0000n + at, 3, (at ^ 0xf000n) | S2_PAGE)
    w.store((root + 0x1189n * 8n) ^ 0xf000n, (GUEST + 0x2000_0000n) | BLOCK)
    w.cd[0] = (w.cd[0] & ~0xffn) | (1n << 6n) | 22n
    w.cd[1] = root + 0x7_0000_0000n
    w.apply()
    expect(w.read((0x1189n << 29n) | 0x1234n)).toBe('0x20001234')
  })

  it('has PASIDs', () => {
    const w = new World(S1)
    const table = w.alloc()
    w.ste[0] = (3n << 59n) | table | 0xbn
    w.apply()
    w.store(table + 5n * 64n, ...w.cd)
    expect(w.read(VA, { ssid: 5 })).toBe(hex(w.page + 0xabcn))
  })
})

describe('unlike QEMU, the configuration', () => {
  it('has 2^(Span-1) entries behind a first level descriptor, and C_BAD_STREAMID beyond', () => {
    const g = new Guest({ cr0: 0b1100 })
    g.set32(0x88, 0x1_0210)
    g.store(STREAM_TABLE, 0x80_0000n | 3n)
    for (let i = 0n; i < 8n; i++) g.store(0x80_0000n + i * 64n, 9n)
    g.set32(0x20, 0b1101)
    expect([g.read(0n, { sid: 3 }), g.read(0n, { sid: 4 }), g.kinds()]).toEqual(['0x0', 'abort', ['0x2']])
  })

  it('aligns a stream table to all of its size, with one level and with two', () => {
    for (const [config, junk] of [
      [6, 0xfc0n],
      [0x1_0210, 0x7c0n],
    ] as const) {
      const g = new Guest({ cr0: 0b1100 })
      g.set64(0x80, STREAM_TABLE | junk)
      g.set32(0x88, config)
      g.store(STREAM_TABLE, config === 6 ? 9n : 0x80_0001n)
      g.store(0x80_0000n, 9n)
      g.set32(0x20, 0b1101)
      expect(g.read(0x1000n, { sid: 0 })).toBe('0x1000')
    }
  })

  it('answers C_BAD_SUBSTREAMID and F_STREAM_DISABLED', () => {
    const w = new World(S1)
    w.read(VA, { ssid: 1 })
    w.ste[0] |= 3n << 59n
    w.apply()
    w.read(VA)
    expect(w.kinds()).toEqual(['0x8', '0x6'])
  })

  it('records a StreamID out of range only with RECINVSID', () => {
    const g = new Guest({ cr0: 0b1100 })
    g.set32(0x2c, 0)
    g.set32(0x20, 0b1101)
    expect([g.read(0n, { sid: 64 }), g.events()]).toEqual(['abort', []])
  })

  it('tells where a CD could not be fetched in FetchAddr, and nothing in InputAddr', () => {
    const w = new World(S1)
    w.ste[0] = (RAM + 0x40n) | 0xbn
    w.apply()
    w.read(VA)
    expect(w.events()).toEqual([`1000000009 0 0 ${(RAM + 0x40n).toString(16)}`])
  })

  it('reads S1DSS only where there are SubstreamIDs', () => {
    const w = new World(S1)
    w.ste[1] |= 1n
    w.apply()
    expect(w.read(VA)).toBe(hex(w.page + 0xabcn))
  })
})

describe('unlike QEMU, a register', () => {
  it('tells of a full event queue by OVFLG, not by EVENTQ_ABT_ERR', () => {
    const g = new Guest({ eventLg2: 0 })
    g.read(0n)
    g.read(0n)
    expect([g.get32(0x100a8), g.get32(0x60)]).toEqual([0x8000_0001, 0])
  })

  it('has the event queue interrupt once, when it is no longer empty', () => {
    const g = new Guest()
    for (let i = 0; i < 4; i++) g.read(0n)
    expect(g.interrupts).toEqual(['eventq'])
  })

  it('CR0ACK says no more than is done: SMMUEN reads 0 there when every stall has ended', () => {
    const w = new World(S1, { deny: { IDR0: 3 << 24, IDR5: -65536 }, offer: { IDR5: 4 << 16 } })
    w.cd[0] |= 1n << 44n
    w.apply()
    expect(w.read(0x1000n)).toBe('stalled')
    w.set32(0x20, 0b1100)
    expect([w.get32(0x24), w.ended.get(w.outcome.tag)]).toEqual([0b1100, 'abort'])
  })

  it('STRTAB_BASE_CFG goes back from two levels to one', () => {
    const g = new Guest({ cr0: 0 })
    g.set32(0x88, 0x1_0210)
    g.set32(0x88, 6)
    g.storeSte(5, 9n)
    g.set32(0x20, 1)
    expect([g.get32(0x88), g.read(0x1000n, { sid: 5 })]).toEqual([6, '0x1000'])
  })

  it('of a base or of CONS is not to be written while it is in use', () => {
    const g = new Guest()
    const before = [0x80, 0x90, 0xa0].map((offset) => g.get64(offset))
    for (const offset of [0x80, 0x90, 0xa0]) g.set64(offset, 0x7777_0000n)
    g.set32(0x9c, 3)
    expect([[0x80, 0x90, 0xa0].map((offset) => g.get64(offset)), g.get32(0x9c)]).toEqual([before, 0])
  })

  it('of a queue base does not count below the size of the queue', () => {
    const g = new Guest({ cr0: 0 })
    g.set64(0x90, COMMANDS | 0xfe0n | 8n)
    g.set64(0xa0, EVENTS | 0xfe0n | 7n)
    g.store(COMMANDS, 0x46n)
    g.set32(0x20, 0b1101)
    g.set32(0x98, 1)
    g.read(0n)
    expect([g.get32(0x60), g.get32(0x9c), g.load(EVENTS)]).toEqual([0, 1, 0x10_0000_0004n])
  })

  it('GBPA is there, and decides while the unit is off', () => {
    const g = new Guest({ cr0: 0 })
    g.set32(0x44, 0x8010_0000)
    const aborted = g.read(0x1000n)
    g.set32(0x44, 0x8000_0000)
    expect([aborted, g.read(0x1000n)]).toEqual(['abort', '0x1000'])
  })

  it('is at rest after a reset: a device that is still running finds no stream table and leaves no record', () => {
    const w = new World(S1)
    w.read(VA)
    w.unit.reset()
    w.storeSte(SID, 0n)
    w.read(VA)
    expect([w.get32(0x100a8), w.get32(0x60), w.get32(0x20)]).toEqual([0, 0, 0])
  })
})
