/** Page requests, their queue and their answers, step by step. [VTD 7.4 to 7.10, 11.4.11] */

import { describe, expect, it } from 'vitest'
import { did } from './garden.js'
import { digits, ECAP_48, hex, REG } from './guest.js'
import { type Kind, PA, PASID, ROOT, VA, World, type WorldOptions } from './world.js'

const DT = 1n << 2n
const PRS = 1n << 29n
const PDS = 1n << 42n
const SMS = 1n << 58n
const QUEUE = 0x60_0000n
const IM = 1n << 31n
const IP = 1n << 30n
const MESSAGE = '0xfee03000 0x77'

/** A unit with page requests and a queue of 2^(PQS + 7) of them; DTE and PRE are set. */
function world(kind: Kind = 'first', more: WorldOptions = {}, pqs = 0n): World {
  const w = new World(kind, { ecap: ECAP_48 | DT | PRS | PDS, context: 0x14n, ...more })
  w.set64(REG.PQA, QUEUE | pqs)
  w.set32(REG.PEDATA, 0x77n)
  w.set32(REG.PEADDR, 0xfee0_3000n)
  return w.go()
}

/** A request in the queue, as its four words. */
const queued = (w: World, index: bigint): string =>
  [0n, 8n, 16n, 24n].map((at) => digits(w.load(QUEUE + index * 32n + at))).join(' ')
const NOTHING = '0000000000000000'

describe('[VTD 7.4.1.1] a page request in the queue', () => {
  const told = (access: string, how: Parameters<World['requestPage']>[2] = {}): string => {
    const w = world()
    w.store(QUEUE, ~0n, ~0n, ~0n, ~0n)
    w.requestPage(VA, access, how)
    return queued(w, 0n)
  }

  it('is 256 bits, all of them written', () => {
    expect(told('r')).toBe(`00000000021a0001 0000123456789005 ${NOTHING} ${NOTHING}`)
  })

  it('has its PASID and PP, its group and LPIG, R and W', () => {
    const how = { pasid: PASID, group: 0x1ff }
    expect(told('rw', how)).toBe(`00000045021a0101 0000123456789fff ${NOTHING} ${NOTHING}`)
    expect(told('w', { ...how, isLast: false })).toBe(`00000045021a0101 0000123456789ffa ${NOTHING} ${NOTHING}`)
  })

  it('has execution and privilege', () => {
    expect(told('rxp', { pasid: PASID, group: 1 })).toBe(`00300045021a0101 000012345678900d ${NOTHING} ${NOTHING}`)
  })

  it('is a stop marker with neither R nor W', () => {
    const [low, high] = told('', { pasid: PASID }).split(' ')
    // PRGI is undefined.
    expect([low, BigInt(`0x${high}`) & 7n]).toEqual(['00000045021a0101', 4n])
  })
})

describe('[VTD 7.4.1] the page request queue', () => {
  it('is filled in turn: PQT goes on by 32, and PPR is set', () => {
    const w = world()
    for (let i = 1n; i <= 3n; i++) w.requestPage(i << 12n)
    expect([w.get64(REG.PQT), w.get64(REG.PQH), w.get32(REG.PRS)]).toEqual([0x60n, 0n, 1n])
    expect([0n, 1n, 2n].map((i) => queued(w, i).split(' ')[1])).toEqual([
      '0000000000001005',
      '0000000000002005',
      '0000000000003005',
    ])
    expect([w.told, w.faults()]).toEqual([[], []])
  })

  it('wraps at 2^(PQS + 7) requests', () => {
    for (const pqs of [0n, 2n]) {
      const size = 0x1000n << pqs
      const w = world('first', {}, pqs)
      w.set64(REG.PQT, size - 32n)
      w.set64(REG.PQH, size - 32n)
      w.requestPage(VA)
      expect([w.get64(REG.PQT), queued(w, size / 32n - 1n).slice(0, 16)]).toEqual([0n, '00000000021a0001'])
      w.requestPage(VA)
      expect(w.get64(REG.PQT)).toBe(0x20n)
    }
  })

  it('is full with one entry free: PRO, and the request is answered Success', () => {
    const w = world()
    for (let i = 0; i < 127; i++) w.requestPage(VA)
    expect([w.get64(REG.PQT), w.get32(REG.PRS), w.told]).toEqual([0xfe0n, 1n, []])
    w.requestPage(VA, 'r', { group: 3, pasid: PASID })
    expect([w.get64(REG.PQT), w.get32(REG.PRS), w.told]).toEqual([0xfe0n, 3n, ['pages 538 69 3 0']])
    w.requestPage(VA, 'r', { isLast: false })
    expect(w.told.length).toBe(1)
  })

  it('takes nothing while PRO is set, though there is room', () => {
    const w = world()
    for (let i = 0; i < 128; i++) w.requestPage(VA)
    w.set64(REG.PQH, 0xfe0n)
    w.requestPage(VA, 'r', { group: 4 })
    expect([w.get64(REG.PQT), w.told.at(-1)]).toEqual([0xfe0n, 'pages 538 -1 4 0'])
    w.set32(REG.PRS, 2n)
    w.requestPage(VA)
    expect([w.get64(REG.PQT), w.get32(REG.PRS)]).toEqual([0n, 1n])
  })

  it('drops a stop marker silently with SMS when that cannot be queued', () => {
    const w = world('first', { ecap: ECAP_48 | DT | PRS | SMS })
    for (let i = 0; i < 127; i++) w.requestPage(VA)
    w.requestPage(VA, '', { pasid: PASID })
    expect([w.get32(REG.PRS), w.told, w.faults()]).toEqual([1n, [], []])
    w.set64(REG.PQH, 0x20n)
    w.requestPage(VA, '', { pasid: PASID })
    expect(w.get64(REG.PQT)).toBe(0n)
  })

  it('does not walk: pages that are missing are what requests are for', () => {
    for (const kind of ['first', 'second', 'nested'] as const) {
      const w = world(kind, { mapped: false })
      w.requestPage(VA, 'rw', { pasid: PASID })
      w.requestPage(0xffff_0000_0000_0000n)
      expect([w.get64(REG.PQT), w.faults()]).toEqual([0x40n, []])
    }
  })

  it('takes a privileged request without SRE, and one that executes', () => {
    const w = world()
    w.requestPage(VA, 'rp', { pasid: PASID })
    w.requestPage(VA, 'rx', { pasid: PASID })
    expect([w.get64(REG.PQT), w.faults()]).toEqual([0x40n, []])
  })
})

describe('[VTD 7.1.3] a page request that tables do not let in', () => {
  it('is 0x47 without PRE, answered invalid', () => {
    const w = world('first', { context: 4n })
    w.requestPage(VA, 'w', { group: 9 })
    expect([w.told, w.faults(), w.get64(REG.PQT)]).toEqual([
      ['pages 538 -1 9 1'],
      ['0000123456789000 800000471000021a'],
      0n,
    ])
    w.requestPage(VA, 'w', { isLast: false })
    expect([w.told.length, w.faults().length]).toEqual([1, 1])
    const silent = world('first', { context: 6n })
    silent.requestPage(VA)
    expect([silent.told, silent.faults()]).toEqual([['pages 538 -1 0 1'], []])
  })

  it('is 0x32 in legacy mode, whatever FPD says', () => {
    const w = new World('legacy', { ecap: ECAP_48 | DT | PRS, context: 6n })
    w.set64(REG.PQA, QUEUE)
    w.go()
    w.requestPage(VA, 'r', { pasid: PASID, group: 2 })
    expect([w.told, w.faults()]).toEqual([['pages 538 69 2 1'], ['0000123456789000 800045329000021a']])
  })

  it('is 0x33 in abort mode, 0x30 with TTM 2', () => {
    for (const [ttm, code] of [
      [0xc00n, '33'],
      [0x800n, '30'],
    ] as const) {
      const w = world().go(ROOT | ttm)
      w.requestPage(VA)
      expect([w.told, w.faults()]).toEqual([['pages 538 -1 0 1'], [`0000123456789000 800000${code}1000021a`]])
    }
  })
})

describe('[VTD 7.5] the page request event', () => {
  it('is one message for the first of many', () => {
    const w = world()
    w.set32(REG.PECTL, 0n)
    for (let i = 0; i < 3; i++) w.requestPage(VA)
    expect(w.messages).toEqual([MESSAGE])
  })

  it('comes again once PPR is cleared, though requests are pending', () => {
    const w = world()
    w.set32(REG.PECTL, 0n)
    w.requestPage(VA)
    w.set32(REG.PRS, 1n)
    expect(w.get32(REG.PRS)).toBe(0n)
    w.requestPage(VA)
    expect([w.messages.length, w.get32(REG.PRS)]).toEqual([2, 1n])
  })

  it('comes of an overflow, if no other is pending', () => {
    const w = world()
    w.set32(REG.PECTL, 0n)
    for (let i = 0; i < 127; i++) w.requestPage(VA)
    w.requestPage(VA)
    expect(w.messages.length).toBe(1)
    w.set32(REG.PRS, 3n)
    w.requestPage(VA)
    expect([w.messages.length, w.get32(REG.PRS)]).toEqual([2, 2n])
    w.requestPage(VA)
    expect(w.messages.length).toBe(2)
  })

  it('waits in IP while IM is set; is forgotten when PPR and PRO are cleared', () => {
    const w = world()
    w.requestPage(VA)
    expect([w.messages, w.get32(REG.PECTL)]).toEqual([[], IM | IP])
    w.set32(REG.PECTL, 0n)
    expect([w.messages, w.get32(REG.PECTL)]).toEqual([[MESSAGE], 0n])
    const other = world()
    for (let i = 0; i < 128; i++) other.requestPage(VA)
    other.set32(REG.PRS, 1n)
    expect(other.get32(REG.PECTL)).toBe(IM | IP)
    other.set32(REG.PRS, 2n)
    other.set32(REG.PECTL, 0n)
    expect(other.messages).toEqual([])
  })
})

describe('[VTD 11.4.11] registers of page requests', () => {
  it('keep what they have fields for', () => {
    const w = new World('first', { ecap: ECAP_48 | DT | PRS })
    for (const offset of [REG.PQH, REG.PQT, REG.PQA]) w.set64(offset, 0x0000_ffff_ffff_ffffn)
    expect([w.get64(REG.PQH), w.get64(REG.PQT), w.get64(REG.PQA)]).toEqual([0x7_ffe0n, 0x7_ffe0n, 0xffff_ffff_f007n])
    w.set32(REG.PRS, 3n)
    expect([w.get32(REG.PRS), w.get32(REG.PECTL)]).toEqual([0n, IM])
  })
})

describe('[VTD 7.6.1] a page group response', () => {
  const answered = (low: bigint, high = 0n): readonly [told: readonly string[], status: bigint] => {
    const w = world()
    w.queue(low, high)
    return [w.told, w.get32(REG.FSTS)]
  }

  it('is told to the device with its code, group and PASID', () => {
    expect(answered(0x19n | (0x021an << 16n) | (5n << 32n), 0xff8n)).toEqual([['pages 538 5 511 0'], 0n])
    expect(answered(0x1009n | (0x021an << 16n), 8n)).toEqual([['pages 538 -1 1 1'], 0n])
    expect(answered(0xf009n | (0x021an << 16n), 0n)).toEqual([['pages 538 -1 0 15'], 0n])
  })

  it('does not look at the PASID without PP, nor at the bit that was LPIG', () => {
    expect(answered(9n | (0x021an << 16n) | (5n << 32n), 0xcn)).toEqual([['pages 538 -1 1 0'], 0n])
  })

  it('has reserved bits, and no others', () => {
    const reserved = (word: 0 | 1): bigint => {
      let found = 0n
      for (let bit = 0n; bit < 64n; bit++) {
        if (word === 0 && (0xfe0fn >> bit) & 1n) continue
        const words: [bigint, bigint] = [9n, 0n]
        words[word] |= 1n << bit
        if (answered(...words)[1] !== 0n) found |= 1n << bit
      }
      return found
    }
    expect([reserved(0), reserved(1)]).toEqual([0xfff0_0000_0000_01e0n, 0xffff_ffff_ffff_f003n])
  })

  it('is no descriptor without page requests', () => {
    const w = new World('first', { ecap: ECAP_48 | DT }).go()
    w.queue(9n | (0x021an << 16n), 0n)
    expect([w.get64(REG.IQERCD), w.told]).toEqual([3n, []])
  })

  it('and device-TLB invalidations arrive in the order of the queue', () => {
    const w = world()
    w.queue(3n | (0x021an << 32n), 0n, 9n | (0x021an << 16n), 0n, 3n | (0x021an << 32n), 0x1000n)
    expect(w.told).toEqual(['forget 538 - 0x0 12', 'pages 538 -1 0 0', 'forget 538 - 0x1000 12'])
  })
})

describe('[VTD 6.5.3.1] a page request drops what the unit has cached of its page,', () => {
  const NEXT = VA + 0x1000n
  /** Which of two neighbouring pages still answer after a request for the first, their contexts being gone. */
  const survivors = (kind: Kind, pasid?: number): string[] => {
    const w = world(kind)
    const how = pasid === undefined ? {} : { pasid }
    if (kind === 'first') w.first.map(NEXT, 0x8765_5067n)
    if (kind === 'second') w.second.map(NEXT, 0x8765_5003n)
    if (kind === 'nested') {
      w.first.map(NEXT, 0x20_3456_8067n)
      w.second.map(0x20_3456_8000n, 0x8765_5003n)
    }
    for (const va of [VA, NEXT]) expect(w.dma(va, 'r', how)).toMatch(/^0x/)
    w.requestPage(VA, 'w', how)
    w.clear(w.context, 1n)
    w.queue(0x11n, 0n, 0x37n, 0n)
    return [VA, NEXT].filter((va) => w.dma(va, 'r', how).startsWith('0x')).map((va) => (va === VA ? 'it' : 'next'))
  }

  it('of a first or second stage: the page', () => {
    for (const kind of ['first', 'second'] as const) {
      expect([survivors(kind), survivors(kind, PASID)], kind).toEqual([['next'], ['next']])
    }
  })

  it('nested: the domain', () => {
    expect([survivors('nested'), survivors('nested', PASID)]).toEqual([[], []])
  })

  it('so software that grants a right needs no invalidation', () => {
    const w = world('first')
    w.clear(w.first.at(VA), 2n)
    expect([w.dma(VA), w.dma(VA, 'w')]).toEqual([hex(PA), 'fault 85'])
    w.requestPage(VA, 'w')
    w.or(w.first.at(VA), 2n)
    w.queue(9n | (0x021an << 16n), 0n)
    expect(w.dma(VA, 'w')).toBe(hex(PA))
  })
})

describe('[VTD 7.10] the drain that software does', () => {
  it('is a fence, invalidations, and a wait with PD: none is an error', () => {
    const w = world()
    w.requestPage(VA, 'r', { pasid: PASID })
    const device = 8n | (0x021an << 16n) | (BigInt(PASID) << 32n)
    const iotlb = 0x26n | did(7) | (BigInt(PASID) << 32n)
    w.queue(0x45n, 0n, iotlb, 0n, device, 0x7fff_ffff_ffff_f800n, 0x2_0000_00a5n, 0x9000n)
    expect([w.load(0x9000n), w.get32(REG.FSTS), w.get64(REG.PQT)]).toEqual([2n, 0n, 0x20n])
  })
})
