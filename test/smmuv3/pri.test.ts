import { beforeEach, describe, expect, it } from 'vitest'
import { FlatBacking } from '../../hw-model/memory/backing.js'
import { ACCESS, NO_DEVICES, NO_PASID, PAGE_RESPONSE, PageRequest } from '../../hw-model/port.js'
import { idRegisters, OFFSET, PAGE_1, PRESETS } from '../../hw-model/smmuv3/index.js'
import { AtsBench, CR0, SID } from './ats-bench.js'

const { READ, WRITE, EXECUTE, PRIVILEGED } = ACCESS
const { SUCCESS, FAILURE } = PAGE_RESPONSE
const PROD = PAGE_1 + OFFSET.PRIQ_PROD
const CONS = PAGE_1 + OFFSET.PRIQ_CONS
const OVERFLOW = 2 ** 31

/** What an automatic answer says: PASID, group, code. */
type Response = [rid: number, pasid: number, group: number, code: number]

/** A unit whose PRI queue is on, with 2^lg2 entries. */
class PriBench extends AtsBench {
  readonly responses: Response[]
  readonly priQueue: number
  readonly #lg2: number

  constructor(options: ConstructorParameters<typeof AtsBench>[0] = {}, lg2 = 3) {
    const responses: Response[] = []
    const devices = { ...NO_DEVICES, respondToPages: (...response: Response) => void responses.push(response) }
    super({ devices, ...options })
    this.responses = responses
    this.priQueue = this.alloc()
    this.#lg2 = lg2
    this.write64(OFFSET.PRIQ_BASE, this.priQueue + lg2)
    this.write(OFFSET.IRQ_CTRL, 0b111)
    this.write(OFFSET.CR0, CR0.ON | CR0.PRIQEN)
  }

  page(fields: Partial<PageRequest> = {}): void {
    const request = Object.assign(new PageRequest(), { rid: SID, lo: 0x56789abc, hi: 0x1234, group: 3 }, fields)
    this.unit.ats?.requestPage(request)
  }

  get prod(): number {
    return this.read(PROD)
  }

  /** The entry of a slot, as two 64-bit words. */
  entry(slot: number): [bigint, bigint] {
    const at = this.priQueue + (slot % 2 ** this.#lg2) * 16
    return [this.peek(at), this.peek(at + 8)]
  }
}

let bench: PriBench

beforeEach(() => {
  bench = new PriBench()
})

describe('[SMMU 8 Page request queue]', () => {
  it('has an entry for each request, spelled as the manual does', () => {
    // SID 0x10, PASID 5, read and write, last of group 3.
    bench.page({ rid: 0x10, pasid: 5, access: READ | WRITE })
    expect(bench.entry(0)).toEqual([0xf000000500000010n, 0x0000123456789003n])
    expect([bench.prod, bench.responses]).toEqual([1, []])
  })

  const bits: [name: string, fields: Partial<PageRequest>, dw0: bigint][] = [
    ['no bit but Last', { access: 0 }, 0x4000000000000003n],
    ['R at 60', { access: READ, isLast: false }, 0x1000000000000003n],
    ['W at 61', { access: WRITE, isLast: false }, 0x2000000000000003n],
    ['X at 59, with a PASID', { access: READ | EXECUTE, pasid: 0xfffff, isLast: false }, 0x980fffff00000003n],
    ['Priv at 58, with a PASID', { access: READ | PRIVILEGED, pasid: 0, isLast: false }, 0x9400000000000003n],
    ['neither without one', { access: READ | EXECUTE | PRIVILEGED, isLast: false }, 0x1000000000000003n],
    ['a stop marker', { access: 0, pasid: 5 }, 0xc000000500000003n],
    ['a StreamID of 32 bits', { rid: 0xfedcba98 | 0, access: READ }, 0x50000000fedcba98n],
  ]
  it.each(bits)('has %s', (_name, fields, dw0) => {
    bench.page(fields)
    expect(bench.entry(0)[0]).toBe(dw0)
  })

  it('has the group in nine bits and the page in 52', () => {
    bench.page({ group: 0x1ff, lo: -1, hi: -1 })
    expect(bench.entry(0)[1]).toBe(0xfffffffffffff1ffn)
  })

  it('takes requests whatever EATS and ATSCHK say, and of streams without an STE', () => {
    bench.page({ rid: 99 })
    bench.switch(1)
    bench.write(OFFSET.CR0, CR0.ON | CR0.PRIQEN | CR0.ATSCHK)
    bench.stageOne({ EATS: 0 })
    bench.page()
    expect([bench.prod, bench.unit.pageRequests.written]).toEqual([2, 2])
  })

  it('wraps, through the wrap bit, down to a queue of one entry', () => {
    bench = new PriBench({}, 0)
    for (const prod of [1, 0, 1]) {
      bench.page()
      expect(bench.prod).toBe(prod)
      bench.write(CONS, prod)
    }
    bench = new PriBench({}, 2)
    for (let i = 0; i < 9; i++) {
      bench.page({ group: i })
      bench.write(CONS, bench.prod)
    }
    expect([bench.prod, bench.entry(8)[1] & 0x1ffn]).toEqual([1, 8n])
  })

  it('is no larger than IDR1.PRIQS says', () => {
    bench = new PriBench({ id: { IDR1: (PRESETS.full.IDR1 & ~(31 << 11)) | (1 << 11) } }, 3)
    for (let i = 0; i < 3; i++) bench.page()
    expect(bench.prod).toBe(2 + OVERFLOW)
  })
})

describe('[SMMU 8.1 PRI queue overflow]', () => {
  beforeEach(() => {
    bench = new PriBench({}, 1)
    bench.page({ group: 1 })
    bench.page({ group: 2 })
  })

  it('answers the last of a group with Success and drops the others', () => {
    bench.page({ group: 4, isLast: false })
    expect([bench.prod, bench.responses]).toEqual([2 + OVERFLOW, []])
    bench.page({ group: 4 })
    expect([bench.prod, bench.responses]).toEqual([2 + OVERFLOW, [[SID, NO_PASID, 4, SUCCESS]]])
    expect([bench.unit.pageRequests.written, bench.unit.pageRequests.discarded]).toEqual([2, 2])
  })

  it('drops a stop marker without an answer, and one without a PASID is none', () => {
    bench.page({ access: 0, pasid: 5 })
    expect([bench.prod, bench.responses]).toEqual([2 + OVERFLOW, []])
    bench.page({ access: 0 })
    expect(bench.responses).toEqual([[SID, NO_PASID, 3, SUCCESS]])
  })

  it('takes nothing until it is acknowledged, although there is room', () => {
    bench.page({ group: 4 })
    bench.write(CONS, 2)
    bench.page({ group: 5 })
    expect([bench.prod, bench.responses.length]).toEqual([2 + OVERFLOW, 2])
    bench.write(CONS, 2 + OVERFLOW)
    bench.page({ group: 6 })
    expect([bench.prod, bench.entry(2)[1] & 0x1ffn]).toEqual([3 + OVERFLOW, 6n])
    // The next overflow toggles the flag back.
    bench.page()
    bench.page()
    expect(bench.prod).toBe(0)
  })

  const answers: [name: string, ppar: number | null, pps: number, pasid: number, code: number][] = [
    ['PPAR 0', 0, 0, NO_PASID, SUCCESS],
    ['PPAR 1', 1, 0, 5, SUCCESS],
    ['an ILLEGAL STE', null, 0, NO_PASID, FAILURE],
    ['PPS, whatever PPAR says', 0, 1, 5, SUCCESS],
    ['PPS, without an STE', null, 1, 5, SUCCESS],
  ]
  it.each(answers)('answers a request with a PASID as %s says', (_name, ppar, pps, pasid, code) => {
    bench = new PriBench({ id: { IDR3: PRESETS.full.IDR3 | (pps << 5) } }, 0)
    if (ppar !== null) bench.ste(SID, { V: 1, Config: 0, PPAR: ppar })
    bench.page()
    bench.page({ pasid: 5, group: 7 })
    expect(bench.responses).toEqual([[SID, pasid, 7, code]])
    expect(bench.events()).toEqual([])
  })

  it('never looks at the STE for a request without a PASID', () => {
    bench.page()
    expect(bench.responses).toEqual([[SID, NO_PASID, 3, SUCCESS]])
    expect(bench.unit.configs.misses).toBe(0)
  })

  const recorded: [name: string, cr2: number, sid: number, event: bigint[][]][] = [
    ['C_BAD_STE as REC_CFG_ATS wants', 0b1000, SID, [[0x0000000300005804n, 0n, 0n, 0n]]],
    ['C_BAD_STREAMID as REC_CFG_ATS and RECINVSID want', 0b1010, 64, [[0x0000004000005802n, 0n, 0n, 0n]]],
    ['no C_BAD_STREAMID without RECINVSID', 0b1000, 64, []],
    ['nothing without REC_CFG_ATS', 0b0010, 64, []],
  ]
  it.each(recorded)('records %s', (_name, cr2, rid, events) => {
    bench.switch(0, cr2)
    bench.write(OFFSET.CR0, CR0.ON | CR0.PRIQEN)
    bench.page({ rid, pasid: 5 })
    expect(bench.responses).toEqual([[rid, NO_PASID, 3, FAILURE]])
    expect(bench.events()).toEqual(events)
  })

  it('records an STE that cannot be read with the address of the fetch', () => {
    bench.write(OFFSET.CR0, 0b1100)
    bench.write(OFFSET.CR2, 0b1000)
    bench.write64(OFFSET.STRTAB_BASE, 2 ** 40)
    bench.write(OFFSET.CR0, CR0.ON | CR0.PRIQEN)
    bench.page({ pasid: 5 })
    expect(bench.events()).toEqual([[0x0000000300005803n, 0n, 0n, 0x100000000c0n]])
  })

  it('has no PASIDs in a unit without substreams', () => {
    bench = new PriBench({ id: { IDR1: PRESETS.full.IDR1 & ~(31 << 6) } }, 0)
    bench.page({ pasid: 5, access: READ | EXECUTE })
    expect(bench.entry(0)[0]).toBe(0x5000000000000003n)
    // What would be a stop marker is a request.
    bench.page({ pasid: 5, access: 0 })
    expect(bench.responses).toEqual([[SID, NO_PASID, 3, SUCCESS]])
  })
})

describe('[SMMU 8.2 Miscellaneous] automatic Response Failure', () => {
  const off: [name: string, of: (bench: PriBench) => void][] = [
    ['PRIQEN is 0', (bench) => bench.write(OFFSET.CR0, CR0.ON)],
    ['SMMUEN is 0', (bench) => bench.write(OFFSET.CR0, (CR0.ON | CR0.PRIQEN) - 1)],
  ]
  it.each(off)('answers every request without a PASID while %s, and no stop marker', (_name, of) => {
    of(bench)
    bench.page({ pasid: 5, isLast: false })
    bench.page({ pasid: 5 })
    bench.page({ pasid: 5, access: 0 })
    expect(bench.responses).toEqual([
      [SID, NO_PASID, 3, FAILURE],
      [SID, NO_PASID, 3, FAILURE],
    ])
    expect([bench.prod, bench.unit.pageRequests.discarded, bench.interrupts]).toEqual([0, 3, []])
  })

  it('answers in a unit with ATS and without PRI, whose PRI registers are reserved', () => {
    bench = new PriBench({ id: { IDR0: PRESETS.full.IDR0 & ~(1 << 16) } })
    bench.page()
    expect(bench.responses).toEqual([[SID, NO_PASID, 3, FAILURE]])
    for (const name of ['PRIQ_BASE', 'PRIQ_PROD', 'PRIQ_CONS', 'PRIQ_IRQ_CFG0', 'PRIQ_IRQ_CFG1'] as const) {
      bench.write(OFFSET[name], 0xfff)
      expect(bench.read(OFFSET[name]), name).toBe(0)
    }
    expect([bench.read(OFFSET.CR0), bench.read(OFFSET.IRQ_CTRL)]).toEqual([CR0.ON, 0b101])
  })

  it('answers when the queue cannot be written, which is PRIQ_ABT_ERR until it is acknowledged', () => {
    bench.write(OFFSET.CR0, CR0.ON)
    bench.write64(OFFSET.PRIQ_BASE, 2 ** 40 + 3)
    bench.write(OFFSET.CR0, CR0.ON | CR0.PRIQEN)
    bench.page({ pasid: 5 })
    expect([bench.read(OFFSET.GERROR), bench.prod, bench.interrupts]).toEqual([1 << 3, 0, ['gerror']])
    bench.memory.place(2 ** 40, new FlatBacking(new ArrayBuffer(65536), true))
    bench.page({ group: 9 })
    expect(bench.responses).toEqual([
      [SID, NO_PASID, 3, FAILURE],
      [SID, NO_PASID, 9, FAILURE],
    ])
    bench.write(OFFSET.GERRORN, 1 << 3)
    bench.page()
    expect([bench.prod, bench.responses.length]).toEqual([1, 2])
  })

  it('answers no marker that cannot be written', () => {
    bench.write(OFFSET.CR0, CR0.ON)
    bench.write64(OFFSET.PRIQ_BASE, 2 ** 40 + 3)
    bench.write(OFFSET.CR0, CR0.ON | CR0.PRIQEN)
    bench.page({ pasid: 5, access: 0 })
    expect([bench.read(OFFSET.GERROR), bench.responses]).toEqual([1 << 3, []])
  })
})

describe('[SMMU 6.3.36 SMMU_PRIQ_IRQ_CFG2] the PRI queue interrupt', () => {
  /** Writes the MSI registers; LO is bit 31 of CFG2. */
  const configure = (lo: number, address = 0): void => {
    bench.write(OFFSET.IRQ_CTRL, 0)
    bench.write64(OFFSET.PRIQ_IRQ_CFG0, address)
    bench.write(OFFSET.PRIQ_IRQ_CFG1, 77)
    bench.write(OFFSET.PRIQ_IRQ_CFG2, lo * 2 ** 31)
    bench.write(OFFSET.IRQ_CTRL, 0b111)
  }

  it('comes once per turn from empty to not empty', () => {
    bench.page({ isLast: false })
    bench.page()
    expect(bench.interrupts).toEqual(['priq'])
    bench.write(CONS, 2)
    bench.page()
    expect(bench.interrupts).toEqual(['priq', 'priq'])
  })

  it('comes with LO for each last request, when it can be seen, and for one that an overflow discards', () => {
    bench = new PriBench({}, 1)
    configure(1)
    bench.page({ isLast: false })
    expect(bench.interrupts).toEqual([])
    bench.page()
    bench.page()
    bench.page({ isLast: false })
    expect(bench.interrupts).toEqual(['priq', 'priq'])
    // Discarded for another reason: none.
    bench.write(OFFSET.CR0, CR0.ON)
    bench.page()
    expect(bench.interrupts.length).toBe(2)
  })

  it('does not come for a discarded request without LO', () => {
    bench = new PriBench({}, 0)
    bench.page()
    bench.page()
    expect(bench.interrupts).toEqual(['priq'])
  })

  it('does not come while IRQ_CTRL.PRIQ_IRQEN is 0', () => {
    bench.write(OFFSET.IRQ_CTRL, 0b101)
    bench.page()
    expect(bench.interrupts).toEqual([])
  })

  it('writes its MSI where PRIQ_IRQ_CFG says, and one that fails is MSI_PRIQ_ABT_ERR', () => {
    configure(0, 0x2000)
    bench.page()
    expect([bench.peek(0x2000), bench.messages]).toEqual([77n, [[0x2000, 77]]])
    bench = new PriBench()
    bench.memory.place(2 ** 40, new FlatBacking(new ArrayBuffer(65536), false))
    configure(0, 2 ** 40)
    bench.page()
    expect([bench.read(OFFSET.GERROR), bench.prod]).toEqual([1 << 6, 1])
  })
})

describe('registers of the PRI queue', () => {
  it('are guarded by CR0.PRIQEN, even while SMMUEN is 0, and by PRIQ_IRQEN', () => {
    bench.write(OFFSET.CR0, (CR0.ON | CR0.PRIQEN) - 1)
    for (const name of ['PRIQ_BASE', 'PRIQ_PROD', 'PRIQ_IRQ_CFG0', 'PRIQ_IRQ_CFG1', 'PRIQ_IRQ_CFG2'] as const) {
      const before = bench.read(OFFSET[name])
      bench.write(OFFSET[name], ~before)
      expect(bench.read(OFFSET[name]), name).toBe(before)
    }
    bench.write(OFFSET.CR0, CR0.ON - 1)
    bench.write(PROD, 0xffff_ffff)
    expect([bench.read(PROD), bench.read(OFFSET.PRIQ_PROD)]).toEqual([0x8000_000f, 0x8000_000f])
    bench.write(CONS, 0xffff_ffff)
    expect(bench.read(CONS)).toBe(0x800f_ffff)
  })

  it('acknowledge PRIQEN, whatever SMMUEN says', () => {
    bench.write(OFFSET.CR0, CR0.PRIQEN)
    expect(bench.read(OFFSET.CR0ACK)).toBe(CR0.PRIQEN)
  })

  it('have LO alone of what MSIs are set up by, where IDR0.MSI is 0', () => {
    bench = new PriBench({ id: { IDR0: PRESETS.full.IDR0 & ~(1 << 13) } })
    bench.write(OFFSET.IRQ_CTRL, 0)
    bench.write(OFFSET.PRIQ_IRQ_CFG2, -1)
    expect(bench.read(OFFSET.PRIQ_IRQ_CFG2)).toBe(0x8000_0000)
  })

  it.each([
    ['without PRI', { IDR0: PRESETS.full.IDR0 & ~(1 << 16), IDR3: PRESETS.full.IDR3 | (1 << 5) }],
    ['without substreams', { IDR1: PRESETS.full.IDR1 & ~(31 << 6), IDR3: PRESETS.full.IDR3 | (1 << 5) }],
  ])('IDR3.PPS %s is refused', (_name, overrides) => {
    expect(() => idRegisters('full', overrides)).toThrow(/IDR3\.PPS/)
  })
})
