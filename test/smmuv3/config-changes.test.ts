/**
 * What a stream is told after its configuration has changed, for every way to say so and for those that do not: the unit
 * may know a short way to what it keeps, but never one past what it was told to forget.
 * [SMMU 3.21.3 Configuration structures and configuration invalidation] [SMMU 4.3 Configuration structure invalidation]
 */

import { describe, expect, it } from 'vitest'
import { ACCESS, Outcome } from '../../hw-model/port.js'
import { type CacheOptions, CONFIG, OFFSET } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, S1, S2, stageTwoFields } from './bench.js'

type Command = readonly [bigint, bigint]

const SID = 9
const VA = 0x5000n
const [FIRST, SECOND] = [0x30_0000n, 0x40_0000n]
const SYNC: Command = [0x46n, 0n]

const ste = (sid: number, leaf = 0): Command => [0x03n | (BigInt(sid) << 32n), BigInt(leaf)]
const range = (sid: number, lg2: number): Command => [0x04n | (BigInt(sid) << 32n), BigInt(lg2)]
const cd = (sid: number, ssid: number, leaf = 0): Command => [
  0x05n | (BigInt(ssid) << 12n) | (BigInt(sid) << 32n),
  BigInt(leaf),
]
const cdAll = (sid: number): Command => [0x06n | (BigInt(sid) << 32n), 0n]
const NSNH_ALL: Command = [0x30n, 0n]
const CFGI_ALL = range(0, 31)

/** Two streams, 9 and 10, of two substreams each; substream 0 is also that of what has none. */
class Guest {
  readonly bench: Bench
  readonly cds: number

  constructor(caches: CacheOptions = {}) {
    this.bench = new Bench({ preset: 'full', caches })
    this.cds = this.bench.alloc()
    for (const ssid of [0, 1]) this.context(ssid, 5 + ssid, FIRST)
    for (const sid of [SID, SID + 1]) this.stream(sid)
  }

  stream(sid: number, fields: object = {}): void {
    this.bench.ste(sid, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: this.cds, S1CDMax: 1, S1DSS: 2, ...fields })
  }

  /** The CD of a substream, with tables of its own that lead VA to a frame. */
  context(ssid: number, asid: number, frame: bigint, fields: object = {}): void {
    const root = this.bench.alloc()
    this.bench.map(root, VA, frame | S1.RW)
    this.bench.cd(this.cds + ssid * 64, { ...contextFields(asid, root), ...fields })
  }

  use(sid = SID, pasid?: number, va = VA): string {
    return this.bench.dma(sid, va, pasid === undefined ? {} : { pasid })
  }

  /** Every path there is, met twice. */
  warm(): this {
    for (const sid of [SID, SID + 1]) {
      for (const pasid of [undefined, 1, undefined, 1]) expect(this.use(sid, pasid)).toBe('ok 300000')
    }
    return this
  }
}

describe('an STE that aborts from now on', () => {
  const changed = (...commands: readonly Command[]): string[] => {
    const guest = new Guest().warm()
    guest.stream(SID, { Config: CONFIG.ABORT })
    guest.bench.commands(...commands, SYNC)
    return [guest.use(), guest.use(SID, 1), guest.use(SID + 1)]
  }
  const KEPT = ['ok 300000', 'ok 300000', 'ok 300000']
  const GONE = ['aborted', 'aborted', 'ok 300000']

  it.each([
    ['nothing at all', [], KEPT],
    ['TLBI_NSNH_ALL', [NSNH_ALL], KEPT],
    ['CFGI_CD_ALL', [cdAll(SID)], KEPT],
    ['CFGI_CD', [cd(SID, 0), cd(SID, 1)], KEPT],
    ['CFGI_STE of the other stream', [ste(SID + 1)], KEPT],
    ['CFGI_STE_RANGE of other streams', [range(SID + 3, 1)], KEPT],
    ['CFGI_STE', [ste(SID)], GONE],
    ['CFGI_STE with Leaf', [ste(SID, 1)], GONE],
    ['CFGI_STE_RANGE', [range(SID, 0)], GONE],
    ['CFGI_STE_RANGE of a larger block', [range(12, 2)], GONE],
    ['CFGI_ALL', [CFGI_ALL], GONE],
  ] as const)('is met after what must drop it, and it alone: %s', (_, commands, expected) => {
    expect(changed(...commands)).toEqual(expected)
  })

  it('is met again when it translates again', () => {
    const guest = new Guest().warm()
    for (let i = 0; i < 3; i++) {
      guest.stream(SID, { Config: CONFIG.ABORT })
      guest.bench.commands(ste(SID), SYNC)
      expect([guest.use(), guest.use(SID, 1)]).toEqual(['aborted', 'aborted'])
      guest.stream(SID)
      guest.bench.commands(ste(SID), SYNC)
      expect([guest.use(), guest.use(), guest.use(SID, 1)]).toEqual(['ok 300000', 'ok 300000', 'ok 300000'])
    }
  })

  it.each([
    ['bypass', { Config: CONFIG.BYPASS }, 'ok 5000'],
    ['not valid', { V: 0 }, 'C_BAD_STE'],
    ['no substreams', { S1CDMax: 0 }, 'ok 300000'],
    ['requests without a substream aborted', { S1DSS: 0 }, 'F_STREAM_DISABLED'],
    ['requests without a substream bypassed', { S1DSS: 1 }, 'ok 5000'],
  ] as const)('is met as what it is now: %s', (_, fields, expected) => {
    const guest = new Guest().warm()
    guest.stream(SID, fields)
    guest.bench.commands(ste(SID, 1), SYNC)
    expect(guest.use()).toBe(expected)
    expect(guest.use(SID + 1)).toBe('ok 300000')
  })

  it('lets accesses of another privilege in, or keeps them out', () => {
    const guest = new Guest()
    // AP[1] is 0: privileged accesses alone.
    guest.context(0, 5, FIRST, {})
    const { bench } = guest
    const root = Number(bench.peek(guest.cds + 8) & 0xffff_ffff_f000n)
    bench.map(root, VA, FIRST | (S1.RW & ~0x40n))
    const as = (access: number): string => bench.dma(SID, VA, { access })
    const both = (): string[] => [as(ACCESS.READ), as(ACCESS.READ | ACCESS.PRIVILEGED)]
    expect([both(), both()]).toEqual(Array(2).fill(['F_PERMISSION', 'ok 300000']))
    // PRIVCFG 3 makes everything privileged, and 2 nothing. [SMMU 13.1.1 Attribute definitions]
    for (const [PRIVCFG, expected] of [
      [3, ['ok 300000', 'ok 300000']],
      [2, ['F_PERMISSION', 'F_PERMISSION']],
      [0, ['F_PERMISSION', 'ok 300000']],
    ] as const) {
      guest.stream(SID, { PRIVCFG })
      bench.commands(ste(SID), SYNC)
      expect([both(), both()]).toEqual([expected, expected])
    }
  })
})

describe('a CD with another ASID and other tables', () => {
  const changed = (...commands: readonly Command[]): string[] => {
    const guest = new Guest().warm()
    guest.context(1, 8, SECOND)
    guest.bench.commands(...commands, SYNC)
    return [guest.use(SID, 1), guest.use(SID + 1, 1), guest.use()]
  }
  const KEPT = ['ok 300000', 'ok 300000', 'ok 300000']
  const OF_STREAM = ['ok 400000', 'ok 300000', 'ok 300000']
  const OF_ALL = ['ok 400000', 'ok 400000', 'ok 300000']

  it.each([
    ['nothing at all', [], KEPT],
    ['TLBI_NSNH_ALL', [NSNH_ALL], KEPT],
    ['CFGI_CD of another substream', [cd(SID, 0)], KEPT],
    ['CFGI_CD', [cd(SID, 1)], OF_STREAM],
    ['CFGI_CD with Leaf', [cd(SID, 1, 1)], OF_STREAM],
    ['CFGI_CD_ALL', [cdAll(SID)], OF_STREAM],
    ['CFGI_STE', [ste(SID)], OF_STREAM],
    ['CFGI_STE_RANGE', [range(SID, 0)], OF_STREAM],
    ['CFGI_STE_RANGE of both streams', [range(SID, 1)], OF_ALL],
    ['CFGI_ALL', [CFGI_ALL], OF_ALL],
  ] as const)('is met after what must drop it, and it alone: %s', (_, commands, expected) => {
    expect(changed(...commands)).toEqual(expected)
  })

  it('has other ranges, tags in addresses, or no tables, from then on', () => {
    const tagged = VA | (0xabn << 56n)
    for (const [fields, plain, withTag] of [
      [{}, 'ok 300000', 'F_TRANSLATION'],
      [{ TBI0: 1 }, 'ok 300000', 'ok 300000'],
      [{ EPD0: 1 }, 'F_TRANSLATION', 'F_TRANSLATION'],
      [{ T0SZ: 39 }, 'F_TRANSLATION', 'F_TRANSLATION'],
      [{ V: 0 }, 'C_BAD_CD', 'C_BAD_CD'],
    ] as const) {
      const guest = new Guest().warm()
      const root = Number(guest.bench.peek(guest.cds + 8) & 0xffff_ffff_f000n)
      guest.bench.cd(guest.cds, { ...contextFields(5, root), ...fields })
      guest.bench.commands(cd(SID, 0), NSNH_ALL, SYNC)
      const seen = [guest.use(), guest.use(), guest.use(SID, undefined, tagged), guest.use(SID, undefined, tagged)]
      expect(seen, JSON.stringify(fields)).toEqual([plain, plain, withTag, withTag])
    }
  })
})

describe('a stream of stage 2 alone', () => {
  it('goes through other tables, or fewer addresses, after CFGI_STE', () => {
    const { bench } = new Guest()
    const [one, two] = [bench.alloc(), bench.alloc()]
    bench.map(one, VA, FIRST | S2.RW)
    bench.map(two, VA, SECOND | S2.RW)
    const far = 1n << 40n
    bench.map(two, far, SECOND | S2.RW)
    const through = (vmid: number, root: number, fields: object = {}): void => {
      bench.ste(SID, { ...stageTwoFields(vmid, root), V: 1, Config: CONFIG.S2_TRANS, ...fields })
    }
    through(2, one)
    expect([bench.dma(SID, VA), bench.dma(SID, VA)]).toEqual(['ok 300000', 'ok 300000'])
    through(3, two)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    bench.commands(ste(SID), SYNC)
    expect([bench.dma(SID, VA), bench.dma(SID, VA), bench.dma(SID, far)]).toEqual([
      'ok 400000',
      'ok 400000',
      'ok 400000',
    ])
    // 39 bits, from level 1.
    through(3, Number(bench.peek(two) & 0xffff_ffff_f000n), { S2T0SZ: 25, S2SL0: 1 })
    bench.commands(ste(SID), SYNC)
    expect([bench.dma(SID, VA), bench.dma(SID, far), bench.dma(SID, far)]).toEqual([
      'ok 400000',
      'F_TRANSLATION',
      'F_TRANSLATION',
    ])
  })
})

describe('registers', () => {
  const OFF = 0b1100
  const ON = 0b1101

  it('decide at once whether anything is translated, and lose nothing that is kept', () => {
    const guest = new Guest().warm()
    const { bench } = guest
    guest.stream(SID, { Config: CONFIG.ABORT })
    for (let i = 0; i < 2; i++) {
      bench.write(OFFSET.CR0, OFF)
      expect([guest.use(), guest.use(SID + 1)]).toEqual(['ok 5000', 'ok 5000'])
      bench.write(OFFSET.CR0, ON)
      // [SMMU 6.3.9.6 SMMUEN]: what was cached is not invalidated.
      expect([guest.use(), guest.use(SID + 1)]).toEqual(['ok 300000', 'ok 300000'])
    }
    bench.write(OFFSET.CR0, OFF)
    bench.commands(ste(SID), SYNC)
    bench.write(OFFSET.CR0, ON)
    expect([guest.use(), guest.use(SID + 1)]).toEqual(['aborted', 'ok 300000'])
  })

  it('lead to another stream table, once CFGI_ALL was sent', () => {
    const guest = new Guest().warm()
    const { bench } = guest
    const other = bench.alloc()
    bench.poke(other + SID * 64, BigInt(1 | (CONFIG.ABORT << 1)))
    bench.write(OFFSET.CR0, OFF)
    bench.write64(OFFSET.STRTAB_BASE, other)
    bench.commands(CFGI_ALL, SYNC)
    bench.write(OFFSET.CR0, ON)
    expect([guest.use(), guest.use(SID, 1), guest.use(SID + 1)]).toEqual(['aborted', 'aborted', 'C_BAD_STE'])
  })

  it('of a unit that was reset know nothing', () => {
    const guest = new Guest().warm()
    const { bench } = guest
    guest.stream(SID, { Config: CONFIG.ABORT })
    guest.context(1, 8, SECOND)
    bench.unit.reset()
    bench.write(OFFSET.CR2, 0b10)
    bench.write64(OFFSET.STRTAB_BASE, bench.streamTable)
    bench.write(OFFSET.STRTAB_BASE_CFG, 6)
    bench.write(OFFSET.CR0, 1)
    expect([guest.use(), guest.use(SID + 1, 1), guest.use(SID + 1)]).toEqual(['aborted', 'ok 400000', 'ok 300000'])
  })
})

describe('who looks on', () => {
  const explained = ({ bench }: Guest): string => {
    const outcome = new Outcome()
    bench.unit.explain(bench.transaction(SID, VA), outcome, { step: () => undefined })
    return bench.describe(outcome)
  }

  it('is told what memory says, and changes nothing of what the stream is told', () => {
    const guest = new Guest().warm()
    guest.context(0, 8, SECOND)
    for (let i = 0; i < 3; i++) expect([explained(guest), guest.use()]).toEqual(['ok 400000', 'ok 300000'])
    expect(guest.bench.unit.missing(guest.bench.transaction(SID, VA))).toEqual([
      { name: 'CFGI_CD', operands: { SID, SSID: 0 } },
    ])
    expect(guest.use()).toBe('ok 300000')
    guest.bench.commands(cd(SID, 0), SYNC)
    expect([explained(guest), guest.use(), explained(guest), guest.use()]).toEqual(Array(4).fill('ok 400000'))
  })

  it('is an oracle too, from any time to any other', () => {
    const guest = new Guest().warm()
    const { bench } = guest
    const watch = (isOn: boolean): void =>
      bench.unit.setOracle(isOn ? { fails: false, graceSyncs: 0, reportLimit: 8 } : null)
    watch(true)
    guest.warm()
    guest.context(0, 8, SECOND)
    expect([guest.use(), guest.use()]).toEqual(['ok 300000', 'ok 300000'])
    watch(false)
    expect([guest.use(), guest.use()]).toEqual(['ok 300000', 'ok 300000'])
    bench.commands(cd(SID, 0), SYNC)
    watch(true)
    expect([guest.use(), guest.use()]).toEqual(['ok 400000', 'ok 400000'])
    expect(bench.unit.oracle?.reports).toEqual([])
    guest.stream(SID, { Config: CONFIG.ABORT })
    bench.commands(ste(SID), SYNC)
    expect(guest.use()).toBe('aborted')
    watch(false)
    expect([guest.use(), guest.use(SID + 1)]).toEqual(['aborted', 'ok 300000'])
  })

  it('may set another cache policy: then nothing is kept of before', () => {
    const guest = new Guest().warm()
    guest.stream(SID, { Config: CONFIG.ABORT })
    guest.bench.unit.setCachePolicy('hardware')
    expect([guest.use(), guest.use(SID + 1)]).toEqual(['aborted', 'ok 300000'])
    guest.bench.unit.setCachePolicy('off')
    guest.stream(SID)
    expect([guest.use(), guest.use()]).toEqual(['ok 300000', 'ok 300000'])
    guest.stream(SID, { Config: CONFIG.ABORT })
    expect(guest.use()).toBe('aborted')
  })
})

describe('a unit with room for one entry of each kind', () => {
  it('knows of a stream what it keeps of it, and no more', () => {
    const guest = new Guest({ configEntries: 1 })
    expect([guest.use(), guest.use(), guest.use(SID + 1), guest.use(SID + 1)]).toEqual(Array(4).fill('ok 300000'))
    // The other stream's entries have made room for these. The TLB has the page still, of the same ASID.
    guest.stream(SID, { Config: CONFIG.ABORT })
    guest.stream(SID + 1, { Config: CONFIG.ABORT })
    expect([guest.use(SID + 1), guest.use(SID), guest.use(SID + 1)]).toEqual(['ok 300000', 'aborted', 'aborted'])
  })
})
