/** What each invalidation drops and what survives it in legacy mode, by descriptors and by registers. */

import { describe, expect, it } from 'vitest'
import { type Cache, did, type Garden, lost, type Plant } from './garden.js'
import { CAP_48, ECAP_48, QIE, REG, SRTP, TE } from './guest.js'

const LEGACY: Readonly<Record<string, Plant>> = {
  ss: { kind: 'legacy', sid: 0x0208, did: 4n, va: 0x1_0000_0000n },
  'ss elsewhere': { kind: 'legacy', sid: 0x0208, did: 4n, va: 0x2_0000_0000n },
  'ss of another function': { kind: 'legacy', sid: 0x0210, did: 4n, va: 0x1_0000_0000n },
  'ss of another domain': { kind: 'legacy', sid: 0x0218, did: 5n, va: 0x1_0000_0000n },
  pt: { kind: 'legacy pass-through', sid: 0x0220, did: 1n, va: 0x1_0000_0000n },
}

const ALL: readonly Cache[] = ['context', 'iotlb']
const NOTHING = { context: '', iotlb: '' }
const EVERYTHING = Object.keys(LEGACY).join(', ')
const DOMAIN = 'ss, ss elsewhere, ss of another function'

const dropped = (act: (g: Garden) => void): Record<string, string> => lost(LEGACY, ALL, act)

/** A context-cache invalidation, or one of the IOTLB, by each of both interfaces. */
type Way = readonly [name: string, form: (granularity: bigint, id: bigint, rest?: bigint) => (g: Garden) => void]

const CONTEXT_WAYS: readonly Way[] = [
  [
    'descriptors',
    (g, id, rest = 0n) =>
      (garden) =>
        garden.queue(1n | (g << 4n) | (id << 16n) | (rest << 32n), 0n),
  ],
  [
    'CCMD',
    (g, id, rest = 0n) =>
      (garden) => {
        garden.disable(QIE)
        // SID is in 31:16 and FM in 33:32, as they stand in 47:32 and 49:48 of a descriptor.
        garden.set64(REG.CCMD, (1n << 63n) | (g << 61n) | (rest << 16n) | id)
        expect(garden.get64(REG.CCMD) >> 59n).toBe((g << 2n) | g)
        garden.startQueue(false)
      },
  ],
]

const IOTLB_WAYS: readonly Way[] = [
  [
    'descriptors',
    (g, id, rest = 0n) =>
      (garden) =>
        garden.queue(2n | (g << 4n) | (id << 16n), rest),
  ],
  [
    'IOTLB and IVA',
    (g, id, rest = 0n) =>
      (garden) => {
        garden.disable(QIE)
        garden.set64(REG.IVA, rest)
        garden.set64(REG.IOTLB, (1n << 63n) | (g << 60n) | (id << 32n))
        // IVT is clear; IIRG stands, and IAIG says that it was done so.
        expect(garden.get64(REG.IOTLB) >> 57n).toBe((g << 3n) | g)
        garden.startQueue(false)
      },
  ],
]

for (const [way, form] of CONTEXT_WAYS) {
  describe(`[VTD 6.5.2.1, 11.4.6.1] the context cache in legacy mode, by ${way},`, () => {
    it('loses everything globally, and no translation', () =>
      expect(dropped(form(1n, 0n))).toEqual({ ...NOTHING, context: EVERYTHING }))

    it('loses the entries of a domain', () => {
      expect(dropped(form(2n, 4n))).toEqual({ ...NOTHING, context: DOMAIN })
      expect(dropped(form(2n, 6n))).toEqual(NOTHING)
    })

    it('loses the entry of a function, if that is in the domain', () => {
      expect(dropped(form(3n, 4n, 0x0208n))).toEqual({ ...NOTHING, context: 'ss, ss elsewhere' })
      expect(dropped(form(3n, 5n, 0x0208n))).toEqual(NOTHING)
      expect(dropped(form(3n, 1n, 0x0220n)).context).toBe('pt')
    })

    it('loses the entries of functions that differ in bits that FM leaves out', () => {
      const plants: Record<string, Plant> = {}
      for (const fn of [0x0208, 0x0209, 0x020a, 0x020c]) {
        plants[fn.toString(16)] = { kind: 'legacy pass-through', sid: fn, did: 1n, va: 0n }
      }
      const left = (fm: bigint): string => lost(plants, ['context'], form(3n, 1n, 0x0208n | (fm << 16n))).context
      expect([0n, 1n, 2n, 3n].map(left)).toEqual(['208', '208, 20c', '208, 20a, 20c', '208, 209, 20a, 20c'])
    })
  })
}

for (const [way, form] of IOTLB_WAYS) {
  describe(`[VTD 6.5.2.3, 11.4.6.3] the IOTLB in legacy mode, by ${way},`, () => {
    it('loses everything globally, and no context entry', () =>
      expect(dropped(form(1n, 0n))).toEqual({ ...NOTHING, iotlb: EVERYTHING }))

    it('loses the translations of a domain', () => {
      expect(dropped(form(2n, 4n))).toEqual({ ...NOTHING, iotlb: DOMAIN })
      expect(dropped(form(2n, 1n)).iotlb).toBe('pt')
      expect(dropped(form(2n, 6n))).toEqual(NOTHING)
    })

    it('loses the translations of a page of a domain', () => {
      expect(dropped(form(3n, 4n, 0x1_0000_0000n)).iotlb).toBe('ss, ss of another function')
      expect(dropped(form(3n, 4n, 0x1_0000_1000n))).toEqual(NOTHING)
      expect(dropped(form(3n, 4n, 0x2_0000_0000n)).iotlb).toBe('ss elsewhere')
      expect(dropped(form(3n, 1n, 0x1_0000_0000n)).iotlb).toBe('pt')
    })

    it('loses the translations of 2^AM pages; low bits of the address do not count', () => {
      expect(dropped(form(3n, 4n, 0x1_0003_f000n | 6n)).iotlb).toBe('ss, ss of another function')
      expect(dropped(form(3n, 4n, 0x1_0004_0000n | 6n))).toEqual(NOTHING)
    })

    it('loses the same with IH', () => {
      expect(dropped(form(3n, 4n, 0x1_0000_0040n)).iotlb).toBe('ss, ss of another function')
    })

    it('does not look at bits of the address beyond MGAW', () => {
      expect(dropped(form(3n, 4n, 0xffff_0001_0000_0000n)).iotlb).toBe('ss, ss of another function')
    })
  })
}

describe('[VTD 6.6, 11.4.4.1] in legacy mode', () => {
  const off = (g: Garden): void => {
    g.disable(TE)
    g.enable(TE)
  }

  it('SRTP drops everything with ESRTPS, and nothing without', () => {
    expect(dropped((g) => g.once(SRTP))).toEqual({ context: EVERYTHING, iotlb: EVERYTHING })
    expect(lost(LEGACY, ALL, (g) => g.once(SRTP), { cap: CAP_48 & ~(1n << 63n) })).toEqual(NOTHING)
  })

  it('switching translation off drops everything where scalable mode is offered, and nothing elsewhere', () => {
    expect(dropped(off)).toEqual({ context: EVERYTHING, iotlb: EVERYTHING })
    const bare = { cap: 0x00d2_078c_226f_0606n, ecap: 0xfc3n }
    expect(lost(LEGACY, ALL, off, bare)).toEqual(NOTHING)
  })

  it('PASID descriptors are no descriptors: nothing is dropped, the queue stops', () => {
    for (const type of [0x26n, 0x36n, 0x37n, 0x07n]) {
      const g = lost(LEGACY, ['iotlb'], (garden) => {
        garden.queue(type | did(4), 0n)
        expect([garden.get32(REG.FSTS), garden.get64(REG.IQERCD)]).toEqual([0x10n, 3n])
        // A valid one instead, so that the queue goes on.
        garden.store(0x8_0000n, 0x45n, 0n)
        garden.set32(REG.FSTS, 0x10n)
      })
      expect(g.iotlb).toBe('')
    }
  })
})

/** CAIG, or IAIG, of a request that was refused, and that its busy bit is clear. */
describe('[VTD 11.4.6.1, 11.4.6.3] a register-based invalidation is answered with granularity 0 and drops nothing', () => {
  const asked = (prepare: (g: Garden) => void, iva = 0n, options = {}): string[] => {
    const said: string[] = []
    const act = (g: Garden): void => {
      prepare(g)
      g.set64(REG.CCMD, 0xa000_0000_0000_0000n)
      g.set64(REG.IVA, iva)
      g.set64(REG.IOTLB, (1n << 63n) | (3n << 60n) | (4n << 32n))
      const [ccmd, iotlb] = [g.get64(REG.CCMD), g.get64(REG.IOTLB)]
      said.push(`${(ccmd >> 63n) & 1n} ${(ccmd >> 59n) & 3n} ${(iotlb >> 63n) & 1n} ${(iotlb >> 57n) & 3n}`)
      g.startQueue(false)
    }
    const { context, iotlb } = lost(LEGACY, ALL, act, options)
    return [...new Set(said), context, iotlb]
  }
  const noQueue = (g: Garden): void => g.disable(QIE)

  it('but not otherwise: one of the context cache, one of a page', () => {
    expect(asked(noQueue, 0x1_0000_0000n)).toEqual(['0 1 0 3', EVERYTHING, 'ss, ss of another function'])
  })

  it('while the queue is on', () => {
    expect(asked(() => {})).toEqual(['0 0 0 0', '', ''])
  })

  it('from version 6 on', () => {
    expect(asked(noQueue, 0n, { ver: 0x60 })).toEqual(['0 0 0 0', '', ''])
    expect(asked(noQueue, 0x1_0000_0000n, { ver: 0x5f })[0]).toBe('0 1 0 3')
  })

  it('of pages more than MAMV allows', () => {
    const small = { cap: (CAP_48 & ~(0x3fn << 48n)) | (9n << 48n), ecap: ECAP_48 }
    expect(asked(noQueue, 10n, small)).toEqual(['0 1 0 0', EVERYTHING, ''])
    expect(asked(noQueue, 0x1_0000_0000n | 9n, small)[2]).toBe('ss, ss of another function')
  })
})
