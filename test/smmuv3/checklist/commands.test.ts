/** Which commands there are, and how the queue stops at one that is not. [SMMU 4.1 Commands overview] */

import { describe, expect, it } from 'vitest'
import { COMMANDS, Guest, type GuestOptions, RAM } from './guest.js'

/** A good second word for each opcode that needs one. */
const OPERANDS: Readonly<Record<number, bigint>> = { 65: 0x2000n }

/** Commands that a unit with both stages and nothing else has. */
const ALWAYS = [0x01, 0x02, 0x03, 0x04, 0x30, 0x46]
const STAGE_1 = [0x05, 0x06, 0x10, 0x11, 0x12, 0x13]
const STAGE_2 = [0x28, 0x2a]

const PLAIN: GuestOptions = { deny: { IDR0: (1 << 9) | (1 << 10) | (1 << 16) | (3 << 24) }, offer: { IDR0: 1 << 24 } }

/** The opcodes of a unit that are not CERROR_ILL. */
function legal(options: GuestOptions, change = 0n): number[] {
  return Array.from({ length: 256 }, (_, opcode) => opcode).filter((opcode) => {
    const g = new Guest(options)
    g.command(BigInt(opcode) | change, OPERANDS[opcode] ?? 0n)
    return g.get32(0x60) === 0 && g.get32(0x9c) === 1
  })
}

const sorted = (...parts: readonly number[][]): number[] => parts.flat().sort((a, b) => a - b)

describe('an opcode', () => {
  it('is CERROR_ILL unless the unit has what it is for', () => {
    expect(legal(PLAIN)).toEqual(sorted(ALWAYS, STAGE_1, STAGE_2))
  })

  it('of stage 1 needs stage 1', () => {
    expect(legal({ ...PLAIN, deny: { IDR0: (PLAIN.deny?.IDR0 ?? 0) | 0b10 } })).toEqual(sorted(ALWAYS, STAGE_2))
  })

  it('of stage 2 needs stage 2', () => {
    expect(legal({ ...PLAIN, deny: { IDR0: (PLAIN.deny?.IDR0 ?? 0) | 0b01 } })).toEqual(sorted(ALWAYS, STAGE_1))
  })

  it('of EL2 needs Hyp', () => {
    const options = { ...PLAIN, offer: { IDR0: (1 << 24) | (1 << 9) } }
    expect(legal(options)).toEqual(sorted(ALWAYS, STAGE_1, STAGE_2, [0x20, 0x21, 0x22, 0x23]))
  })

  it('is CERROR_ILL with SSec where it names a stream; elsewhere the bit is reserved', () => {
    expect(legal(PLAIN, 1n << 10n)).toEqual([0x10, 0x11, 0x12, 0x13, 0x28, 0x2a, 0x30, 0x46])
  })

  it('stays what it is with reserved bits', () => {
    // Bits 9:8 of every command, but for G of CMD_ATC_INV, are reserved.
    expect(legal(PLAIN, 1n << 8n)).toEqual(sorted(ALWAYS, STAGE_1, STAGE_2))
  })

  it('stays CERROR_ILL while the unit is off', () => {
    const g = new Guest({ ...PLAIN, cr0: 0b1000 })
    g.command(0x40n, 0n)
    expect([g.get32(0x9c), g.get32(0x60)]).toEqual([0x0100_0000, 1])
  })
})

describe('CMD_SYNC', () => {
  it('with CS 3 is CERROR_ILL, and with 0 to 2 is not', () => {
    for (const cs of [0n, 1n, 2n]) {
      const g = new Guest()
      g.command(0x46n | (cs << 12n), 0n)
      expect([g.get32(0x9c), g.get32(0x60)]).toEqual([1, 0])
    }
    const g = new Guest()
    g.command(0x3046n, 0n)
    expect([g.get32(0x9c), g.get32(0x60)]).toEqual([0x0100_0000, 1])
  })

  it('is passed by CONS before its message arrives', () => {
    const g = new Guest()
    let seen = -1
    g.messages.push = (): number => {
      seen = g.get32(0x9c)
      return 0
    }
    g.command(0x30n, 0n, 0x1046n, RAM)
    expect(seen).toBe(2)
  })

  it('writes its message of 32 bits to ADDR[55:2], and none to 0', () => {
    const g = new Guest()
    g.store(0n, 0x1111_2222_3333_4444n)
    g.store(0x5000_0000n, 0x1111_2222_3333_4444n)
    g.command((0xabcd_ef01n << 32n) | 0x1046n, 0x5000_0007n, (0xabcd_ef01n << 32n) | 0x1046n, 0n)
    expect([g.load(0x5000_0000n), g.load(0n)]).toEqual([0xabcd_ef01_3333_4444n, 0x1111_2222_3333_4444n])
  })
})

describe('a command that is bad [SMMU 7.1 Command queue errors]', () => {
  const BAD = 0xffn
  const SYNC = 0x46n

  it('stops the queue at itself: ERR says why, RD says where, GERROR says so', () => {
    const g = new Guest()
    g.command(SYNC, 0n, SYNC, 0n, BAD, 0n, SYNC, 0n)
    expect([g.get32(0x9c), g.get32(0x60), g.interrupts]).toEqual([0x0100_0002, 1, ['gerror']])
  })

  it('keeps it stopped, whatever PROD says', () => {
    const g = new Guest()
    g.command(BAD, 0n)
    g.command(SYNC, 0n, 0x1046n, 0n)
    expect([g.get32(0x9c), g.interrupts]).toEqual([0x0100_0000, ['gerror']])
  })

  it('is read again once it is acknowledged, without a write of PROD', () => {
    const g = new Guest()
    g.command(BAD, 0n, SYNC, 0n)
    g.store(COMMANDS, SYNC, 0n)
    g.set32(0x64, 1)
    expect([g.get32(0x9c) & 0xfffff, g.get32(0x60), g.get32(0x64)]).toEqual([2, 1, 1])
  })

  it('is an error again when it is acknowledged and still bad', () => {
    const g = new Guest()
    g.command(BAD, 0n)
    g.set32(0x64, 1)
    expect([g.get32(0x9c), g.get32(0x60), g.interrupts.length]).toEqual([0x0100_0000, 0, 2])
  })

  it('may be taken back by a PROD that returns to CONS', () => {
    const g = new Guest()
    g.command(SYNC, 0n, BAD, 0n)
    g.set32(0x98, 1)
    g.set32(0x64, 1)
    expect([g.get32(0x9c) & 0xfffff, g.get32(0x60)]).toEqual([1, 1])
  })

  it('leaves ERR as it was when the queue goes on', () => {
    const g = new Guest()
    g.command(BAD, 0n)
    g.store(COMMANDS, SYNC, 0n)
    g.set32(0x64, 1)
    expect(g.get32(0x9c)).toBe(0x0100_0001)
  })

  it('in the last entry stops there, and the queue goes on at the first with the wrap bit', () => {
    const g = new Guest({ commandLg2: 2 })
    g.command(SYNC, 0n, SYNC, 0n, SYNC, 0n, BAD, 0n)
    expect([g.get32(0x9c), g.get32(0x98)]).toEqual([0x0100_0003, 4])
    g.store(COMMANDS + 48n, SYNC, 0n)
    g.set32(0x64, 1)
    expect(g.get32(0x9c) & 0xfffff).toBe(4)
    g.command(BAD, 0n)
    expect([g.get32(0x9c), g.get32(0x60)]).toEqual([0x0100_0004, 0])
  })

  it('has ERR in place when GERROR tells of it', () => {
    const g = new Guest()
    let seen = 0
    g.interrupts.push = (): number => {
      seen = g.get32(0x9c)
      return 0
    }
    g.command(BAD, 0n)
    expect(seen).toBe(0x0100_0000)
  })

  it('because it cannot be fetched is CERROR_ABT', () => {
    const g = new Guest({ cr0: 0 })
    g.set64(0x90, RAM | 5n)
    g.set32(0x20, 0b1000)
    g.set32(0x98, 1)
    expect([g.get32(0x9c), g.get32(0x60)]).toEqual([0x0200_0000, 1])
  })

  it('does what stood before it', () => {
    const g = new Guest()
    g.storeSte(0x10, 9n)
    g.read(0x1000n)
    g.storeSte(0x10, 1n)
    g.command(0x04n, 0x1fn, BAD, 0n)
    expect(g.read(0x1000n)).toBe('abort')
  })
})
