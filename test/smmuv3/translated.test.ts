import { describe, expect, it } from 'vitest'
import { ACCESS, Outcome, REQUEST, Transaction, type WalkStep } from '../../hw-model/port.js'
import { CONFIG, OFFSET } from '../../hw-model/smmuv3/index.js'
import { AtsBench, IPA, PA2, SID } from './ats-bench.js'
import { GUEST, S1, S2 } from './bench.js'

const { READ, WRITE, EXECUTE, PRIVILEGED } = ACCESS

const split = (leaf: bigint = S2.RW, ste = {}): AtsBench =>
  new AtsBench().switch(1).nested({ EATS: 2, ...ste }, S1.RW, leaf)

describe('[SMMU 3.9.1.3 Handling of ATS Translated transactions]', () => {
  it('is forbidden while SMMUEN is 0, whatever ATSCHK says, and recorded without a SubstreamID', () => {
    for (const cr0 of [0b01100, 0b11100]) {
      const bench = new AtsBench().stageOne()
      bench.write(OFFSET.CR0, cr0)
      expect(bench.translated(0x8000_1234n, { pasid: 5 })).toBe('F_TRANSL_FORBIDDEN')
      expect(bench.translated(0x8000_1234n, { access: WRITE })).toBe('F_TRANSL_FORBIDDEN')
      // RnW is bit 99.
      expect(bench.events()).toEqual([
        [0x0000000300000007n, 0x0000000800000000n, 0x0000000080001234n, 0n],
        [0x0000000300000007n, 0n, 0x0000000080001234n, 0n],
      ])
    }
  })

  it('passes without a look at the stream while ATSCHK is 0', () => {
    const bench = new AtsBench()
    expect(bench.translated(0x1234n, { sid: 64 })).toBe('ok 1234')
    expect(bench.translated(0x1234n, { sid: 1 })).toBe('ok 1234')
    expect(bench.unit.configs.misses).toBe(0)
  })

  it.each([0, 1])('aborts silently beyond the output size, with ATSCHK %i', (atschk) => {
    const bench = new AtsBench().switch(atschk).stageOne()
    expect(bench.translated(2n ** 52n - 1n)).toBe('ok fffffffffffff')
    expect(bench.translated(2n ** 52n)).toBe('aborted')
    expect(bench.translated(2n ** 63n)).toBe('aborted')
    expect(bench.events()).toEqual([])
  })

  const broken: [name: string, sid: number, dw0: bigint][] = [
    ['C_BAD_STREAMID', 64, 0x0000004000000002n],
    ['C_BAD_STE', 1, 0x0000000100000004n],
  ]
  it.each(broken)('aborts for %s, and records it as REC_CFG_ATS wants, whatever RECINVSID says', (name, sid, dw0) => {
    const silent = new AtsBench().switch(1, 0b0010)
    expect(silent.translated(0x1000n, { sid, pasid: 5 })).toBe('aborted')
    expect(silent.events()).toEqual([])
    const recorded = new AtsBench().switch(1, 0b1000)
    expect(recorded.translated(0x1000n, { sid, pasid: 5 })).toBe(name)
    expect(recorded.events()).toEqual([[dw0, 0n, 0n, 0n]])
  })

  it('aborts for an STE that cannot be read', () => {
    const bench = new AtsBench().switch(1, 0b1000)
    bench.write(OFFSET.CR0, 0b1100)
    bench.write64(OFFSET.STRTAB_BASE, 2 ** 40)
    bench.write(OFFSET.CR0, 0b11101)
    expect(bench.translated(0x1000n)).toBe('F_STE_FETCH')
    expect(bench.events()).toEqual([[0x0000000300000003n, 0n, 0n, 0x100000000c0n]])
  })

  it('has no substreams of its own (IDR3.PASIDTT = 0), so none is missed', () => {
    const bench = new AtsBench().switch(1).stageOne({ S1CDMax: 2, S1DSS: 0 })
    expect(bench.translated(0x5000n)).toBe('ok 5000')
    expect(bench.translated(0x5000n, { pasid: 9 })).toBe('ok 5000')
  })
})

describe('[SMMU 13.6.3 Split-stage ATS behavior and responses]', () => {
  it('translates an IPA by stage 2, and is answered by its cache the next time', () => {
    const bench = split()
    expect(bench.translated(IPA + 0x123n, { access: WRITE })).toBe('ok a0000123')
    expect(bench.send(REQUEST.TRANSLATED, IPA + 4n, {})).toMatchObject({ hit: 1, address: Number(PA2) + 4, rights: 7 })
  })

  const faults: [name: string, leaf: bigint, access: number, words: [bigint, bigint]][] = [
    // CLASS IN at 105:104, S2 103, RnW 99.
    ['F_TRANSLATION', 0n, READ, [0x10n, 0x0000028800000000n]],
    ['F_ACCESS', S2.RW & ~(1n << 10n), WRITE, [0x12n, 0x0000028000000000n]],
    ['F_PERMISSION', S2.RO, WRITE, [0x13n, 0x0000028000000000n]],
    ['F_PERMISSION', S2.WO, READ, [0x13n, 0x0000028800000000n]],
  ]
  it.each(faults)('records %s of stage 2 as for any access', (name, leaf, access, [id, dw1]) => {
    const bench = split(leaf)
    expect(bench.translated(IPA + 0x123n, { access, pasid: 5 })).toBe(name)
    expect(bench.events()).toEqual([[0x0000000300000000n | id, dw1, IPA + 0x123n, IPA]])
    const quiet = split(leaf, { S2R: 0 })
    expect(quiet.translated(IPA, { access })).toBe('aborted')
    expect(quiet.events()).toEqual([])
  })

  it('records a table of stage 2 that cannot be read', () => {
    const bench = split()
    bench.poke(bench.s2, (2n ** 44n) | S2.TABLE)
    expect(bench.translated(IPA)).toBe('F_WALK_EABT')
    expect(bench.events()[0]?.[3]).toBe(2n ** 44n + ((IPA >> 30n) & 511n) * 8n)
  })

  it('reports an address beyond IAS as a fault of stage 1', () => {
    const bench = split()
    expect(bench.translated(2n ** 52n)).toBe('F_ADDR_SIZE')
    expect(bench.events()).toEqual([[0x0000000300000011n, 0x0000020800000000n, 2n ** 52n, 0n]])
  })

  it('is unprivileged data, whatever its PASID says, unless the STE overrides it', () => {
    const NEVER = S2.RW | (2n << 53n)
    expect(split(NEVER).translated(IPA, { pasid: 1, access: READ | EXECUTE | PRIVILEGED })).toBe('ok a0000000')
    expect(split(NEVER, { INSTCFG: 3 }).translated(IPA)).toBe('F_PERMISSION')
    // XN = 01: unprivileged execution alone. The record shows the overrides: PnU 97, InD 98.
    const bench = split(S2.RW | (1n << 53n), { INSTCFG: 3, PRIVCFG: 3 })
    expect(bench.translated(IPA)).toBe('F_PERMISSION')
    expect(bench.events()[0]?.[1]).toBe(0x0000028e00000000n)
  })

  it('may be an IPA that stage 1 never puts out', () => {
    const bench = split()
    expect(bench.translated(BigInt(GUEST + bench.cdTable))).toBe(`ok ${bench.cdTable.toString(16)}`)
  })
})

describe('translated accesses and those who look at the unit', () => {
  const transaction = (address: bigint): Transaction =>
    Object.assign(new Transaction(), {
      rid: SID,
      type: REQUEST.TRANSLATED,
      lo: Number(address & 0xffffffffn),
      hi: Number(address >> 32n),
    })

  it('ask no cache while ATSCHK is 0, and that of the IPAs under split-stage ATS', () => {
    const outcome = new Outcome()
    const fast = new AtsBench().stageOne()
    expect(fast.unit.peek(transaction(0x1000n), outcome)).toBe(false)
    const bench = split()
    expect(bench.unit.peek(transaction(IPA), outcome)).toBe(false)
    bench.translated(IPA)
    expect(bench.unit.peek(transaction(IPA), outcome)).toBe(true)
    expect(outcome.address).toBe(Number(PA2))
  })

  it('tell which command was forgotten', () => {
    const bench = split()
    bench.translated(IPA)
    bench.map(bench.s2, IPA, 0x70000000n | S2.RW)
    expect(bench.unit.missing(transaction(IPA))).toEqual([
      { name: 'TLBI_S2_IPA', operands: { VMID: 2, Leaf: 1 }, page: [0x90000000, 1] },
    ])
  })

  it('are explained step by step', () => {
    const steps: WalkStep[] = []
    split().unit.explain(transaction(IPA), new Outcome(), { step: (step) => steps.push(step) })
    expect(steps.map(({ what }) => what)).toEqual(['STE', ...Array<string>(4).fill('stage-2 table entry'), 'output'])
    const bench = new AtsBench().switch(1).stageOne({ EATS: 0 })
    const refused: WalkStep[] = []
    bench.unit.explain(transaction(0x1000n), new Outcome(), { step: (step) => refused.push(step) })
    expect(refused.at(-1)?.verdict).toBe('F_TRANSL_FORBIDDEN')
    bench.ste(SID, { V: 1, Config: CONFIG.ABORT })
    bench.unit.explain(transaction(0x1000n), new Outcome(), { step: (step) => refused.push(step) })
    expect(refused.at(-1)?.verdict).toBe('STE.Config aborts silently')
  })
})
