/** What later revisions added: I/O rights of the second stage, privilege of requests without PASID, execution. */

import { describe, expect, it } from 'vitest'
import { ECAP_48 } from './guest.js'
import { GPA, GPA_OF_TABLES, PA, PASID, RID_PASID, ROOT, VA, World, type WorldOptions } from './world.js'

const OK = `0x${PA.toString(16)}`
const SSIRWS = { ecap: ECAP_48 | (1n << 57n) }
const RPRIVS = { ecap: ECAP_48 | (1n << 53n) }
const SSIRWE = 0x80n
const IR = 1n << 61n
const IW = 1n << 62n
const LEVELS = [0, 1, 2, 3] as const

/** A second stage whose entries have I/O rights beside R and W, or not. */
function withRights(bits: bigint, leaf: bigint): World {
  const w = new World('second', SSIRWS)
  for (const level of LEVELS) w.or(w.second.at(VA, level), level === 0 ? leaf : bits)
  return w.go(ROOT | 0x400n | SSIRWE)
}

describe('[VTD 3.7.1, 11.4.5] with SSIRWE', () => {
  it('IR and IW are the rights: R and W do not count', () => {
    const all = withRights(IR | IW, IR | IW)
    expect([all.dma(VA), all.dma(VA, 'w'), all.dma(VA, 'rw')]).toEqual([OK, OK, OK])
    expect(withRights(0n, 0n).dma(VA)).toBe('fault 79')
    const readOnly = withRights(IR | IW, IR)
    expect([readOnly.dma(VA), readOnly.dma(VA, 'w')]).toEqual([OK, 'fault 85'])
    const writeOnly = withRights(IR | IW, IW)
    expect([writeOnly.dma(VA), writeOnly.dma(VA, 'w'), writeOnly.dma(VA, '')]).toEqual(['fault 86', OK, OK])
    expect(withRights(IR, IW).dma(VA)).toBe('fault 79')
  })

  it('an entry is there with IR or IW alone, R and W being 0', () => {
    const w = withRights(IR | IW, IR | IW)
    for (const level of LEVELS) w.clear(w.second.at(VA, level), 3n)
    expect(w.dma(VA, 'w')).toBe(OK)
  })

  it('the second stage under first-stage tables has them too', () => {
    const w = new World('nested', SSIRWS)
    const mapped = [GPA, ...LEVELS.map((level) => (w.first.at(VA, level) & ~0xfffn) + GPA_OF_TABLES)]
    for (const gpa of mapped) for (const level of LEVELS) w.or(w.second.at(gpa, level), IR | IW)
    w.go(ROOT | 0x400n | SSIRWE)
    expect([w.dma(VA), w.dma(VA, 'w')]).toEqual([OK, OK])
    w.clear(w.second.at(mapped[1]), IR)
    w.queue(0x12n, 0n)
    expect(w.dma(VA)).toBe('fault 76')
  })

  it('legacy mode cannot be asked for: 0x30', () => {
    const w = new World('legacy', SSIRWS).go(ROOT | SSIRWE)
    expect([w.dma(VA), w.faults()]).toEqual(['fault 30', ['0000123456789000 c00000300000021a']])
  })
})

describe('[VTD 3.7.1, 11.4.5] without SSIRWE', () => {
  it('IW is reserved and IR is ignored, in a unit that has them', () => {
    const w = new World('second', SSIRWS)
    w.or(w.second.at(VA), IR)
    expect(w.go().dma(VA)).toBe(OK)
    const other = new World('second', SSIRWS)
    other.or(other.second.at(VA), IW)
    expect(other.go().dma(VA)).toBe('fault 7a')
  })

  it('its bit of RTADDR does nothing in a unit that has it not', () => {
    const w = new World('legacy').go(ROOT | SSIRWE)
    expect([w.dma(VA), w.get64(0x20) & SSIRWE]).toEqual([OK, 0n])
  })

  it('it counts from SRTP on', () => {
    const w = new World('second', SSIRWS).go()
    w.set64(0x20, ROOT | 0x400n | SSIRWE)
    expect(w.dma(VA)).toBe(OK)
    w.once(1n << 30n)
    expect(w.dma(VA)).toBe('fault 79')
  })
})

describe('[VTD 3.4.3, 9.4] with RID_PRIV', () => {
  const privileged = (word2: bigint, options: WorldOptions = RPRIVS): World => {
    const w = new World('first', { ...options, entry: [0n, 0n, word2] })
    w.store(w.context + 8n, BigInt(RID_PASID) | (1n << 20n))
    w.clear(w.first.at(VA), 4n)
    return w.go()
  }

  it('a request without PASID is privileged: it needs SRE, and then reaches pages of the supervisor', () => {
    expect(privileged(1n).dma(VA)).toBe(OK)
    const w = privileged(0n)
    expect([w.dma(VA), w.faults()]).toEqual(['fault 5d', ['0000123456789000 c000005d0000021a']])
  })

  it('WPE holds for it', () => {
    const write = (word2: bigint): string => {
      const w = privileged(word2)
      w.clear(w.first.at(VA), 2n)
      return w.dma(VA, 'w')
    }
    expect([write(1n), write(0x11n)]).toEqual([OK, 'fault 85'])
  })

  it('a request with PASID is what it says', () => {
    const w = privileged(1n)
    expect([w.dma(VA, 'r', { pasid: PASID }), w.dma(VA, 'rp', { pasid: PASID })]).toEqual(['fault 81', OK])
  })

  it('0, or without it, no request without PASID is privileged', () => {
    const w = new World('first', { ...RPRIVS, entry: [0n, 0n, 1n] })
    w.clear(w.first.at(VA), 4n)
    w.go()
    expect([w.dma(VA), w.dma(VA, 'rp')]).toEqual(['fault 81', 'fault 81'])
  })
})

describe('[VTD 7.1.3 RTA.5, SPT.5] a request to execute', () => {
  it('without PASID is a read', () => {
    for (const ver of [0x10, 0x70, 0x80]) {
      const w = new World('first', { ver }).go()
      expect([w.dma(VA, 'rx'), w.faults()]).toEqual([OK, []])
    }
  })

  it('with PASID is told before any table from version 8 on, after them before', () => {
    const told = (ver: number): string => {
      const w = new World('first', { ver })
      w.clear(w.entry(PASID), 1n)
      return w.go().dma(VA, 'rx', { pasid: PASID })
    }
    expect([told(0x7f), told(0x80), told(0xf0)]).toEqual(['fault 59', 'fault 34', 'fault 34'])
  })
})
