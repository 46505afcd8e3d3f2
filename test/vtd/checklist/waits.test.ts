/** Wait descriptors and the event of their completion. [VTD 6.5.2.9, 6.5.2.10, 6.5.2.12] */

import { describe, expect, it } from 'vitest'
import { did } from './garden.js'
import { REG } from './guest.js'
import { VA, World } from './world.js'

const SLOT = 0x9000n
const IM = 1n << 31n
const IP = 1n << 30n
const MESSAGE = '0xfee02008 0x31'

const SW = 0x20n
const IF = 0x10n
const FN = 0x40n
/** A wait with status data 2. */
const wait = (flags: bigint, data = 2n): bigint => (data << 32n) | 5n | flags

function running(control = 0n): World {
  const w = new World('second').go()
  w.set32(REG.IEDATA, 0x31n)
  w.set32(REG.IEADDR, 0xfee0_2008n)
  w.set32(REG.IECTL, control)
  return w
}

describe('[VTD 6.5.2.9] a wait', () => {
  it('writes 32 bits, low byte first, and none beside them', () => {
    const w = running()
    w.store(SLOT, 0x1111_1111_2222_2222n, 0x3333_3333_4444_4444n)
    w.queue(wait(SW, 0xdead_beefn), SLOT + 4n)
    expect([w.load(SLOT), w.load(SLOT + 8n)]).toEqual([0xdead_beef_2222_2222n, 0x3333_3333_4444_4444n])
    w.queue(wait(SW, 0xcafen), SLOT + 8n)
    expect(w.load(SLOT + 8n)).toBe(0x3333_3333_0000_cafen)
  })

  it('writes nothing without SW, whatever status it has', () => {
    const w = running()
    for (const flags of [0n, FN, IF, IF | FN]) w.queue(wait(flags), SLOT)
    expect([w.load(SLOT), w.load(0n), w.get32(REG.FSTS)]).toEqual([0n, 0n, 0n])
  })

  it('does not look at bits of its address beyond the host address width', () => {
    const w = running()
    w.queue(wait(SW), SLOT | (0xffffn << 48n))
    expect([w.load(SLOT), w.get32(REG.FSTS)]).toEqual([2n, 0n])
  })

  it('with FN alone is a fence and no error', () => {
    const w = running()
    w.queue(wait(FN), 0n, wait(SW), SLOT)
    expect([w.get32(REG.FSTS), w.load(SLOT), w.get64(REG.IQH)]).toEqual([0n, 2n, 0x40n])
  })

  it('with no flag at all is a fence too', () => {
    const w = running()
    w.queue(5n, 0n, wait(SW), SLOT)
    expect([w.get32(REG.FSTS), w.load(SLOT)]).toEqual([0n, 2n])
  })

  it('with SW and IF writes, then interrupts', () => {
    const w = running()
    const seen: bigint[] = []
    w.onMessage = () => seen.push(w.load(SLOT))
    w.queue(wait(SW | IF | FN), SLOT)
    w.settle()
    expect([seen, w.messages]).toEqual([[2n], [MESSAGE]])
  })

  it('is complete after everything before it: the batch that Linux sends needs no wait in between', () => {
    const w = running()
    w.dma(VA)
    w.store(w.second.at(VA), 0n)
    let stale = ''
    w.onMessage = () => {
      stale = w.dma(VA)
    }
    w.queue(0x11n, 0n, 0x37n, 0n, 0x22n | did(7), 0n, wait(SW | IF), SLOT)
    w.settle()
    expect([stale, w.load(SLOT)]).toEqual(['fault 79', 2n])
  })
})

describe('[VTD 6.5.2.10] the completion event', () => {
  const status = (w: World): [bigint, bigint] => [w.get32(REG.ICS), w.get32(REG.IECTL)]

  it('sets IWC and is one message', () => {
    const w = running()
    w.queue(wait(IF), 0n)
    w.settle()
    expect([status(w), w.messages]).toEqual([[1n, 0n], [MESSAGE]])
  })

  it('is none while IWC is set, and comes again once it is cleared', () => {
    const w = running()
    w.queue(wait(IF), 0n)
    w.queue(wait(IF), 0n)
    w.settle()
    expect(w.messages.length).toBe(1)
    w.set32(REG.ICS, 0n)
    expect(w.get32(REG.ICS)).toBe(1n)
    w.set32(REG.ICS, 1n)
    expect(w.get32(REG.ICS)).toBe(0n)
    w.queue(wait(IF), 0n)
    w.settle()
    expect(w.messages.length).toBe(2)
  })

  it('waits in IP while IM is set', () => {
    const w = running(IM)
    w.queue(wait(IF), 0n)
    w.settle()
    expect([status(w), w.messages]).toEqual([[1n, IM | IP], []])
    w.set32(REG.IECTL, 0n)
    expect([status(w), w.messages]).toEqual([[1n, 0n], [MESSAGE]])
  })

  it('is forgotten when IWC is cleared while it waits', () => {
    const w = running(IM)
    w.queue(wait(IF), 0n)
    w.settle()
    w.set32(REG.ICS, 1n)
    expect(status(w)).toEqual([0n, IM])
    w.set32(REG.IECTL, 0n)
    expect(w.messages).toEqual([])
  })

  it('is none of a wait without IF', () => {
    const w = running()
    w.queue(wait(SW | FN), SLOT)
    w.settle()
    expect([status(w), w.messages]).toEqual([[0n, 0n], []])
  })

  it('may be answered by a handler that acknowledges and queues the next', () => {
    const w = running()
    w.onMessage = () => {
      if (w.messages.length > 4) return
      w.set32(REG.ICS, 1n)
      w.queue(wait(SW | IF, BigInt(w.messages.length)), SLOT)
    }
    w.queue(wait(SW | IF, 0n), SLOT)
    w.settle()
    expect([w.messages.length, w.load(SLOT), w.get64(REG.IQH)]).toEqual([5, 4n, w.get64(REG.IQT)])
  })
})
