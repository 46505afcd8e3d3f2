/** Addresses of what the unit itself reads and writes. [SMMU 3.4.3 Address sizes of SMMU-originated accesses] */

import { describe, expect, it } from 'vitest'
import { COMMANDS, EVENTS, Guest, PAGE_REQUESTS } from './guest.js'

/** A bit of an address that 48 bits of output do not have, and that every base register keeps. */
const BEYOND = 1n << 50n

/** A unit whose output addresses have 48 bits. */
const narrow = (more: object = {}): Guest => new Guest({ cr0: 0, deny: { IDR5: 7 }, offer: { IDR5: 5 }, ...more })

describe('an address beyond the output size', () => {
  it('of a queue is cut to it', () => {
    const g = narrow()
    g.set64(0x90, BEYOND | COMMANDS | 5n)
    g.set64(0xa0, BEYOND | EVENTS | 5n)
    g.set64(0xc0, BEYOND | PAGE_REQUESTS | 5n)
    g.set32(0x20, 0b1111)
    g.command(0x1046n, 0n)
    g.read(0x1000n)
    g.requestPage(0x1000n, 'r')
    expect([g.interrupts, g.get32(0x60)]).toEqual([['cmdq-sync', 'eventq', 'priq'], 0])
    expect([g.load(EVENTS), g.load(PAGE_REQUESTS + 8n)]).toEqual([0x10_0000_0004n, 0x1000n])
  })

  it('of a message is cut to it', () => {
    const g = narrow({ irq: 0 })
    g.set64(0xb0, BEYOND | 0x5000_0000n)
    g.set32(0xb8, 0x11)
    g.set32(0x50, 0b100)
    g.set32(0x20, 0b1101)
    g.command((0x22n << 32n) | 0x1046n, BEYOND | 0x5000_0008n)
    g.read(0x1000n)
    expect([g.load(0x5000_0000n), g.load(0x5000_0008n), g.get32(0x60)]).toEqual([0x11n, 0x22n, 0])
  })
})
