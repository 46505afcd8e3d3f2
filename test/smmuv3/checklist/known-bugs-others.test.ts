/** What gem5, OpenVMM, cloud-hypervisor and axvisor are known to have done wrong, and drivers that a model shows. */

import { describe, expect, it } from 'vitest'
import { COMMANDS, EVENTS, Guest, hex, SID, STREAM_TABLE, VA } from './guest.js'
import { Planted } from './planted.js'
import { GUEST, PAGE, S2_BLOCK, S2_PAGE, stage1, stage2, World } from './tables.js'

const S1 = 0b101
const S2 = 0b110
const NESTED = 0b111

const sid = (n: bigint): bigint => n << 32n

describe('unlike gem5, the unit', () => {
  it('checks permissions again when the TLB answers', () => {
    const w = new World(S1)
    w.one.set(VA, 3, w.page | PAGE | 0x80n)
    expect([w.read(VA), w.write(VA), w.kinds()]).toEqual([hex(w.page + 0xabcn), 'abort', ['0x13']])
  })

  it('drops the CD of the SubstreamID that is named', () => {
    const w = new World(S1)
    const table = w.alloc(0x4000n)
    w.ste[0] = (8n << 59n) | table | 0xbn
    w.apply()
    for (let i = 0n; i < 256n; i++) w.store(table + i * 64n, ...w.cd)
    for (let ssid = 1; ssid < 256; ssid++) expect(w.read(VA, { ssid })).toBe(hex(w.page + 0xabcn))
    for (let i = 0n; i < 256n; i++) w.store(table + i * 64n, 0n)
    w.command(0x05n | sid(0x10n) | (0x85n << 12n), 1n, 0x46n, 0n)
    const gone = Array.from({ length: 255 }, (_, i) => i + 1).filter((ssid) => w.read(VA, { ssid }) === 'abort')
    expect(gone).toEqual([0x85])
  })

  it('finds a large page by any address in it when it is invalidated', () => {
    const garden = { '2 MiB': { va: 0x4000_0000n, level: 2 }, '1 GiB': { va: 0x8000_0000n, level: 1 } }
    const at = (va: bigint): bigint[] => [(7n << 48n) | (5n << 32n) | 0x12n, va | 1n]
    expect(new Planted(garden).gone(...at(0x401f_f000n), ...at(0xbfff_f000n))).toEqual(['2 MiB', '1 GiB'])
  })

  it('walks TTB1', () => {
    const w = new World(S1)
    stage1(w, 12, 48, 1).set(0xffff_8000_0000_0000n, 3, 0x5000_0000n | PAGE)
    w.apply()
    expect(w.read(0xffff_8000_0000_0123n)).toBe('0x50000123')
  })

  it('looks at access flags and privilege', () => {
    const w = new World(S1)
    w.one.set(0x1000n, 3, w.page | (PAGE & ~0x400n))
    w.one.set(0x2000n, 3, w.page | (PAGE & ~0x40n))
    expect([w.read(0x1000n), w.read(0x2000n), w.kinds()]).toEqual(['abort', 'abort', ['0x12', '0x13']])
  })

  it('has granules of 16 KiB', () => {
    const w = new World(S1)
    stage1(w, 14, 48, 0).set(VA, 3, 0x5000_0000n | PAGE)
    w.apply()
    expect(w.read(VA)).toBe('0x50001abc')
  })

  it('does what S1DSS says', () => {
    const ended = [0n, 1n, 2n].map((dss) => {
      const w = new World(S1)
      w.ste[0] |= 3n << 59n
      w.ste[1] |= dss
      w.apply()
      return [w.read(VA), ...w.kinds()].join(' ')
    })
    expect(ended).toEqual(['abort 0x6', hex(VA), expect.stringMatching(/^0x/)])
  })

  it('splits stream tables at 6, 8 and 10 bits and CD tables at 6 and 10', () => {
    for (const split of [6, 8, 10]) {
      const g = new Guest({ cr0: 0b1100 })
      g.set32(0x88, 0x1_0010 | (split << 6))
      g.store(STREAM_TABLE + 8n, 0x80_0000n | BigInt(split + 1))
      g.store(0x80_0040n, 9n)
      g.set32(0x20, 0b1101)
      expect(g.read(0x1000n, { sid: (1 << split) + 1 })).toBe('0x1000')
    }
    for (const [format, split] of [
      [1n, 6],
      [2n, 10],
    ] as const) {
      const w = new World(S1)
      const table = w.alloc()
      w.ste[0] = (11n << 59n) | table | (format << 4n) | 0xbn
      w.apply()
      const leaves = w.alloc(0x1_0000n)
      w.store(table + 8n, leaves | 1n)
      w.store(leaves + 64n, ...w.cd)
      expect(w.read(VA, { ssid: (1 << split) + 1 })).toBe(hex(w.page + 0xabcn))
    }
  })

  it('has 2^(Span-1) entries behind a first level descriptor', () => {
    const g = new Guest({ cr0: 0b1100 })
    g.set32(0x88, 0x1_0210)
    g.store(STREAM_TABLE, 0x80_0001n)
    g.store(0x80_0000n, 9n, 0n, 0n, 0n, 0n, 0n, 0n, 0n, 9n)
    g.set32(0x20, 0b1101)
    expect([g.read(0x1000n, { sid: 0 }), g.read(0x1000n, { sid: 1 })]).toEqual(['0x1000', 'abort'])
  })

  it('answers an STE that is not valid, one that aborts, and a StreamID out of range', () => {
    const g = new Guest()
    g.storeSte(1, 1n)
    expect([g.read(0n, { sid: 0 }), g.read(0n, { sid: 1 }), g.read(0n, { sid: 64 })]).toEqual([
      'abort',
      'abort',
      'abort',
    ])
    expect(g.kinds()).toEqual(['0x4', '0x2'])
  })

  it('stops at a command that it does not know, and says so in GERROR', () => {
    const g = new Guest()
    g.command(0x99n, 0n)
    expect([g.get32(0x9c), g.get32(0x60), g.interrupts]).toEqual([0x0100_0000, 1, ['gerror']])
  })

  it('signals a CMD_SYNC', () => {
    const g = new Guest()
    g.command(0x1046n, 0n, (5n << 32n) | 0x1046n, 0x5000_0000n)
    expect([g.interrupts, g.load(0x5000_0000n)]).toEqual([['cmdq-sync', 'cmdq-sync'], 5n])
  })

  it('goes round its event queue, and says when it was full', () => {
    const g = new Guest({ eventLg2: 2 })
    for (let i = 0; i < 6; i++) g.read(0n)
    expect(g.get32(0x100a8)).toBe(0x8000_0004)
    expect(g.events().length).toBe(4)
    for (let i = 0; i < 4; i++) g.read(0n)
    expect(g.events().length).toBe(4)
  })

  it('takes up a stalled transaction again at CMD_RESUME', () => {
    const w = new World(S1, { deny: { IDR0: 3 << 24, IDR5: -65536 }, offer: { IDR5: 4 << 16 } })
    w.cd[0] |= 1n << 44n
    w.apply()
    w.read(0x1000n)
    const stag = BigInt(`0x${w.events()[0].split(' ')[1]}`) & 0xffffn
    w.one.set(0x1000n, 3, 0x5000_0000n | PAGE)
    w.command(0x1044n | sid(0x10n), stag)
    expect(w.ended.get(w.outcome.tag)).toBe('0x50000000')
  })

  it('has pages of stage 1 that are larger than those of stage 2', () => {
    const w = new World(NESTED)
    stage1(w, 16, 48, 0).set(VA, 3, 0x7_0000_0000n | PAGE)
    for (let i = 0n; i < 16n; i++)
      w.two.set(0x7_0000_0000n + i * 0x1000n, 3, (0x5000_0000n + (i ^ 5n) * 0x1000n) | S2_PAGE)
    w.apply()
    const base = VA & ~0xffffn
    expect([base, base + 0x1000n, base + 0xf123n].map((va) => w.read(va))).toEqual([
      '0x50005000',
      '0x50004000',
      '0x5000a123',
    ])
  })

  it('finds a moved table of stage 2 after CMD_TLBI_S2_IPA, with and without Leaf', () => {
    for (const leaf of [0n, 1n]) {
      const w = new World(S2)
      const at = w.two.set(0x7_0000_0000n, 3, 0x5000_0000n | S2_PAGE)
      w.read(0x7_0000_0000n)
      w.store(at, 0x6000_0000n | S2_PAGE)
      w.command((5n << 32n) | 0x2an, 0x7_0000_0000n | leaf, 0x46n, 0n)
      expect(w.read(0x7_0000_0000n)).toBe('0x60000000')
    }
    const w = new World(S2)
    const table = w.two.set(0x7_0000_0000n, 2, 0n)
    w.two.set(0x7_0000_0000n, 3, 0x5000_0000n | S2_PAGE)
    w.read(0x7_0000_0000n)
    const other = w.alloc()
    w.store(other, 0x6000_0000n | S2_PAGE)
    w.store(table, other | 3n)
    w.command((5n << 32n) | 0x2an, 0x7_0000_0000n, 0x46n, 0n)
    expect(w.read(0x7_0000_0000n)).toBe('0x60000000')
  })

  it('keeps nothing anywhere after everything was invalidated', () => {
    const garden = Object.fromEntries(
      Array.from({ length: 12 }, (_, i) => [
        `p${i}`,
        { va: 0x1000n * BigInt(i), asid: BigInt(i % 3), vmid: BigInt(i % 2) },
      ]),
    )
    expect(new Planted(garden).gone(0x30n, 0n)).toEqual(Object.keys(garden))
  })
})

describe('unlike the first OpenVMM, the unit', () => {
  it('has the fields of STE word 1 where the manual has them', () => {
    // PRIVCFG 49:48 makes privileged, S1STALLD 27 forbids CD.S, S1DSS 1:0 is below both.
    const w = new World(S1)
    w.ste[1] |= 3n << 48n
    w.one.set(VA, 3, w.page | (PAGE & ~0x40n))
    w.apply()
    expect(w.read(VA)).toBe(hex(w.page + 0xabcn))
    const stalls = new World(S1, { deny: { IDR0: 3 << 24, IDR5: -65536 }, offer: { IDR5: 4 << 16 } })
    stalls.ste[1] |= 1n << 27n
    stalls.cd[0] |= 1n << 44n
    stalls.apply()
    expect([stalls.read(VA), stalls.kinds()]).toEqual(['abort', ['0xa']])
  })

  it('has S2VMID in word 2, and tags translations with it', () => {
    const garden = { 'VMID 5': { va: 0x1000n }, 'VMID 6': { va: 0x1000n, vmid: 6n } }
    expect(new Planted(garden).gone(0x10n | sid(6n), 0n)).toEqual(['VMID 6'])
  })

  it('has a CMDQ_CONS that software sets before the queue is on', () => {
    const g = new Guest({ cr0: 0 })
    g.set32(0x98, 5)
    g.set32(0x9c, 5)
    g.set32(0x20, 0b1000)
    expect([g.get32(0x9c), g.get32(0x60)]).toEqual([5, 0])
  })

  it('refuses CMD_SYNC with CS 3', () => {
    const g = new Guest()
    g.command(0x3046n, 0n)
    expect(g.get32(0x60)).toBe(1)
  })

  it('has a TLB, and stage 2', () => {
    const w = new World(NESTED)
    w.read(VA)
    const first = w.outcome.hit
    w.read(VA)
    expect([first, w.outcome.hit]).toEqual([0, 1])
  })
})

describe('as the review of cloud-hypervisor asked, a command', () => {
  it('that nobody knows is CERROR_ILL', () => {
    for (const opcode of [0x00n, 0x08n, 0x47n, 0x7fn, 0x80n, 0xffn]) {
      const g = new Guest()
      g.command(opcode, 0n)
      expect(g.get32(0x9c), hex(opcode)).toBe(0x0100_0000)
    }
  })

  it('PREFETCH_CONFIG or PREFETCH_ADDR is taken', () => {
    const g = new Guest()
    g.command(0x01n | sid(5n), 0n, 0x02n | sid(5n), 0x1000n, 0x46n, 0n)
    expect([g.get32(0x9c), g.get32(0x60)]).toEqual([3, 0])
  })

  it('with SSec is CERROR_ILL', () => {
    const g = new Guest()
    g.command(0x403n | sid(5n), 0n)
    expect(g.get32(0x9c)).toBe(0x0100_0000)
  })
})

describe('as axvisor found on hardware, a base', () => {
  it('that is not aligned to what it holds is aligned down', () => {
    const g = new Guest({ cr0: 0 })
    g.set64(0x80, STREAM_TABLE + 0xfc0n)
    g.set64(0x90, COMMANDS + 0x1e0n + 5n)
    g.set64(0xa0, EVENTS + 0x3e0n + 5n)
    g.store(COMMANDS, 0x1046n)
    g.storeSte(0, 9n)
    g.set32(0x20, 0b1101)
    g.set32(0x98, 1)
    expect(g.interrupts).toEqual(['cmdq-sync'])
    expect([g.read(0x1000n, { sid: 0 }), g.read(0x1000n)]).toEqual(['0x1000', 'abort'])
    expect(g.load(EVENTS)).toBe(0x10_0000_0004n)
  })
})

/** A guest that forgets something sees what it would see on hardware. */
describe('a driver that', () => {
  it('makes an STE valid without CMD_CFGI_STE is not heard', () => {
    const g = new Guest()
    g.read(0x1000n)
    g.storeSte(SID, 9n)
    expect(g.read(0x1000n)).toBe('abort')
    g.command(0x03n | sid(0x10n), 1n)
    expect(g.read(0x1000n)).toBe('0x1000')
  })

  it('invalidates a CD through one of two streams leaves the other with the old one', () => {
    const w = new World(S1)
    w.storeSte(0x11, ...w.ste)
    expect([w.read(VA), w.read(VA, { sid: 0x11 })]).toEqual([hex(w.page + 0xabcn), hex(w.page + 0xabcn)])
    w.store(w.context, 0n)
    w.command(0x05n | sid(0x10n), 1n, 0x46n, 0n)
    expect([w.read(VA), w.read(VA, { sid: 0x11 })]).toEqual(['abort', hex(w.page + 0xabcn)])
  })

  it('gives the wrong TG or TTL keeps its old translation', () => {
    const wrong = (bits: bigint): string[] =>
      new Planted({ page: { va: 0x4000_0000n } }).gone((7n << 48n) | (5n << 32n) | 0x12n, 0x4000_0001n | bits)
    expect([wrong((3n << 10n) | (3n << 8n)), wrong((1n << 10n) | (2n << 8n)), wrong((1n << 10n) | (3n << 8n))]).toEqual(
      [[], [], ['page']],
    )
  })

  it('flushes stage 2 alone under two stages keeps what was combined', () => {
    const garden = { nested: { va: 0x4000_0000n, config: 'nested' as const } }
    expect(new Planted(garden).gone(0x2an | sid(5n), 0x4000_0000n)).toEqual([])
    expect(new Planted(garden).gone(0x2an | sid(5n), 0x4000_0000n, 0x10n | sid(5n), 0n)).toEqual(['nested'])
  })

  it('uses VMID 0 shares it with every other that does', () => {
    const garden = { one: { va: 0x1000n, vmid: 0n }, two: { va: 0x2000n, vmid: 0n }, five: { va: 0x1000n } }
    expect(new Planted(garden).gone(0x10n, 0n)).toEqual(['one', 'two'])
  })
})

describe('pages of stage 2 that are larger than those of stage 1', () => {
  it('are told apart by stage 1 alone', () => {
    const w = new World(NESTED)
    const two = stage2(w, 16, 40, 2)
    two.set(GUEST, 2, S2_BLOCK)
    two.set(0x7_0000_0000n, 3, 0x5000_0000n | S2_PAGE)
    w.one.set(0x1000n, 3, 0x7_0000_a000n | PAGE)
    w.one.set(0x2000n, 3, 0x7_0000_3000n | PAGE)
    w.apply()
    expect([w.read(0x1000n), w.read(0x2123n)]).toEqual(['0x5000a000', '0x50003123'])
  })
})
