/** What each invalidation drops and what survives it, cache by cache. [VTD 6.5.2.1 to 6.5.2.4, T23, T24] */

import { describe, expect, it } from 'vitest'
import { type Cache, did, type Garden, lost, type Plant, pasid } from './garden.js'
import { CAP_48, QIE, REG, SRTP, TE } from './guest.js'

const A = 0x0208
const B = 0x0310

/** Addresses are 2 MiB apart or more, but for the two of `ss`, which share the table of pages. */
const SCALABLE: Readonly<Record<string, Plant>> = {
  fs: { kind: 'first', sid: A, pasid: 5, did: 2n, va: 0x1_0000_0000n },
  'fs of another PASID': { kind: 'first', sid: A, pasid: 6, did: 2n, va: 0x1_0000_0000n },
  'fs of another domain': { kind: 'first', sid: B, pasid: 5, did: 3n, va: 0x1_0000_0000n },
  'fs of RID_PASID': { kind: 'first', sid: A, did: 2n, va: 0x1_4000_0000n },
  'fs elsewhere': { kind: 'first', sid: A, pasid: 5, did: 2n, va: 0x2_0000_0000n },
  pt: { kind: 'pass-through', sid: A, pasid: 9, did: 2n, va: 0x1_0000_0000n },
  ss: { kind: 'second', sid: A, pasid: 7, did: 4n, va: 0x1_0000_0000n },
  'ss elsewhere': { kind: 'second', sid: A, pasid: 7, did: 4n, va: 0x2_0000_0000n },
  'ss of another domain': { kind: 'second', sid: B, pasid: 7, did: 5n, va: 0x1_0000_0000n },
  ne: { kind: 'nested', sid: A, pasid: 8, did: 4n, va: 0x3_0000_0000n },
  'ne of another function': { kind: 'nested', sid: B, pasid: 6, did: 4n, va: 0x4_0000_0000n },
}

const EVERYTHING = Object.keys(SCALABLE).join(', ')
const ALL: readonly Cache[] = ['context', 'pasid', 'iotlb']
const NOTHING = { context: '', pasid: '', iotlb: '' }
const OF_A = Object.keys(SCALABLE)
  .filter((name) => SCALABLE[name].sid === A)
  .join(', ')

const send =
  (low: bigint, high = 0n) =>
  (g: Garden): void =>
    g.queue(low, high)

const dropped = (act: (g: Garden) => void): Record<string, string> => lost(SCALABLE, ALL, act)

describe('[VTD 6.5.2.1 Context-cache Invalidate Descriptor] in scalable mode', () => {
  it('global drops every context entry, and nothing below', () => {
    expect(dropped(send(0x11n))).toEqual({ ...NOTHING, context: EVERYTHING })
  })

  it('domain-selective drops every context entry: they have no domain', () => {
    expect(dropped(send(0x21n | did(77)))).toEqual({ ...NOTHING, context: EVERYTHING })
  })

  it('device-selective drops that of one function, whatever DID says', () => {
    expect(dropped(send(0x31n | did(77) | (BigInt(A) << 32n)))).toEqual({ ...NOTHING, context: OF_A })
  })

  it('device-selective for a function that is not there drops nothing', () => {
    expect(dropped(send(0x31n | (BigInt(A ^ 1) << 32n)))).toEqual(NOTHING)
  })

  for (const [fm, reach] of [
    [0n, [0x0208]],
    [1n, [0x0208, 0x020c]],
    [2n, [0x0208, 0x020a, 0x020c, 0x020e]],
    [3n, [0x0208, 0x0209, 0x020a, 0x020b, 0x020c, 0x020d, 0x020e, 0x020f]],
  ] as const) {
    it(`device-selective with FM ${fm} leaves out as many low bits of the function`, () => {
      const plants: Record<string, Plant> = {}
      for (let fn = 0x0208; fn < 0x0211; fn++) plants[fn] = { kind: 'pass-through', sid: fn, did: 2n, va: 0n }
      const dropped = lost(plants, ['context'], send(0x31n | (fm << 48n) | (0x0208n << 32n)))
      expect(dropped.context).toBe(reach.join(', '))
      // The bits that do not count may be anything.
      const odd = lost(plants, ['context'], send(0x31n | (fm << 48n) | (BigInt(reach[reach.length - 1]) << 32n)))
      expect(odd.context).toBe(reach.join(', '))
    })
  }
})

describe('[VTD 6.5.2.2 PASID-cache Invalidate Descriptor]', () => {
  it('global drops every PASID entry, and no context entry or translation', () => {
    expect(dropped(send(0x37n))).toEqual({ ...NOTHING, pasid: EVERYTHING })
  })

  it('domain-selective drops those of the domain', () => {
    const ofDomain = 'fs, fs of another PASID, fs of RID_PASID, fs elsewhere, pt'
    expect(dropped(send(0x07n | did(2)))).toEqual({ ...NOTHING, pasid: ofDomain })
    expect(dropped(send(0x07n | did(4) | pasid(5))).pasid).toBe('ss, ss elsewhere, ne, ne of another function')
  })

  it('PASID-selective drops those of domain and PASID', () => {
    expect(dropped(send(0x17n | did(2) | pasid(5)))).toEqual({ ...NOTHING, pasid: 'fs, fs elsewhere' })
    expect(dropped(send(0x17n | did(2) | pasid(0x43)))).toEqual({ ...NOTHING, pasid: 'fs of RID_PASID' })
    expect(dropped(send(0x17n | did(4) | pasid(5)))).toEqual(NOTHING)
  })
})

describe('[VTD 6.5.2.3 IOTLB Invalidate Descriptor] in scalable mode', () => {
  it('global drops every translation, and no entry of the tables above', () => {
    expect(dropped(send(0x12n))).toEqual({ ...NOTHING, iotlb: EVERYTHING })
  })

  it('domain-selective drops the domain, whatever PASID and kind', () => {
    const ofDomain = 'fs, fs of another PASID, fs of RID_PASID, fs elsewhere, pt'
    expect(dropped(send(0x22n | did(2)))).toEqual({ ...NOTHING, iotlb: ofDomain })
    const others = 'ss, ss elsewhere, ne, ne of another function'
    expect(dropped(send(0x22n | did(4)))).toEqual({ ...NOTHING, iotlb: others })
    expect(dropped(send(0x22n | did(6)))).toEqual(NOTHING)
  })

  it('page-selective drops second-stage translations in range, and nested ones of the domain anywhere', () => {
    const inRange = 'ss, ne, ne of another function'
    expect(dropped(send(0x32n | did(4), 0x1_0000_0000n))).toEqual({ ...NOTHING, iotlb: inRange })
    expect(dropped(send(0x32n | did(4), 0x1_0000_1000n)).iotlb).toBe('ne, ne of another function')
    expect(dropped(send(0x32n | did(4), 0x9_0000_0000n)).iotlb).toBe('ne, ne of another function')
  })

  it('page-selective drops pass-through in range, and first-stage translations of the domain anywhere', () => {
    const first = 'fs, fs of another PASID, fs of RID_PASID, fs elsewhere'
    expect(dropped(send(0x32n | did(2), 0x1_0000_0000n)).iotlb).toBe(`${first}, pt`)
    expect(dropped(send(0x32n | did(2), 0x9_0000_0000n)).iotlb).toBe(first)
  })

  it('page-selective drops the same translations with IH', () => {
    expect(dropped(send(0x32n | did(4), 0x1_0000_0040n))).toEqual({
      ...NOTHING,
      iotlb: 'ss, ne, ne of another function',
    })
  })

  it('drains or not, all the same', () => {
    for (const flags of [0x40n, 0x80n, 0xc0n]) expect(dropped(send(0x12n | flags)).iotlb).toBe(EVERYTHING)
  })
})

describe('[VTD 6.5.2.4 PASID-based-IOTLB Invalidate Descriptor]', () => {
  it('PASID-selective drops every translation of domain and PASID, whatever kind', () => {
    expect(dropped(send(0x26n | did(2) | pasid(5)))).toEqual({ ...NOTHING, iotlb: 'fs, fs elsewhere' })
    expect(dropped(send(0x26n | did(2) | pasid(9))).iotlb).toBe('pt')
    expect(dropped(send(0x26n | did(4) | pasid(7))).iotlb).toBe('ss, ss elsewhere')
    expect(dropped(send(0x26n | did(4) | pasid(8))).iotlb).toBe('ne')
    expect(dropped(send(0x26n | did(2) | pasid(0x43))).iotlb).toBe('fs of RID_PASID')
    expect(dropped(send(0x26n | did(3) | pasid(6)))).toEqual(NOTHING)
  })

  it('page-selective drops first-stage and nested translations in range', () => {
    expect(dropped(send(0x36n | did(2) | pasid(5), 0x1_0000_0000n))).toEqual({ ...NOTHING, iotlb: 'fs' })
    expect(dropped(send(0x36n | did(2) | pasid(5), 0x1_0000_1000n))).toEqual(NOTHING)
    expect(dropped(send(0x36n | did(4) | pasid(8), 0x3_0000_0000n)).iotlb).toBe('ne')
    expect(dropped(send(0x36n | did(4) | pasid(8), 0x3_0000_0040n)).iotlb).toBe('ne')
  })

  it('page-selective leaves second-stage and pass-through translations alone', () => {
    expect(dropped(send(0x36n | did(4) | pasid(7), 0x1_0000_0000n))).toEqual(NOTHING)
    expect(dropped(send(0x36n | did(2) | pasid(9), 0x1_0000_0000n))).toEqual(NOTHING)
  })

  it('reaches any size, whatever MAMV and PSI say: AM 52 is everything', () => {
    const bare = CAP_48 & ~((0x3fn << 48n) | (1n << 39n))
    expect(lost(SCALABLE, ['iotlb'], send(0x36n | did(2) | pasid(5), 52n), { cap: bare }).iotlb).toBe(
      'fs, fs elsewhere',
    )
    expect(dropped(send(0x36n | did(2) | pasid(5), 63n)).iotlb).toBe('fs, fs elsewhere')
  })
})

describe('everything is dropped', () => {
  const everything = { context: EVERYTHING, pasid: EVERYTHING, iotlb: EVERYTHING }

  it('by SRTP with ESRTPS', () => {
    expect(dropped((g) => g.once(SRTP))).toEqual(everything)
  })

  it('not by SRTP without', () => {
    const cap = CAP_48 & ~(1n << 63n)
    expect(lost(SCALABLE, ALL, (g) => g.once(SRTP), { cap })).toEqual(NOTHING)
  })

  it('by switching translation off, in a scalable unit', () => {
    const off = (g: Garden): void => {
      g.disable(TE)
      g.enable(TE)
    }
    expect(dropped(off)).toEqual(everything)
  })

  it('not by switching the queue off and on', () => {
    const off = (g: Garden): void => {
      g.disable(QIE)
      g.startQueue()
    }
    expect(dropped(off)).toEqual(NOTHING)
  })

  it('not by register-based invalidation, which legacy mode has alone', () => {
    const byRegister = (g: Garden): void => {
      g.disable(QIE)
      g.set64(REG.CCMD, 0xa000_0000_0000_0000n)
      g.set64(REG.IOTLB, 0x9000_0000_0000_0000n)
      g.startQueue()
    }
    expect(dropped(byRegister)).toEqual(NOTHING)
  })
})
