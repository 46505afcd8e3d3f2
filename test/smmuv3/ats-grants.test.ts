import { describe, expect, it } from 'vitest'
import { ACCESS, Outcome, REQUEST, Transaction, type WalkStep } from '../../hw-model/port.js'
import { AtsBench, IPA, PA2, SID, VA } from './ats-bench.js'
import { contextFields, GUEST, S1, S2 } from './bench.js'

const { READ, WRITE, EXECUTE, PRIVILEGED } = ACCESS

describe('[SMMU 13.7.1 Permission attributes granted in ATS Translation Completions]', () => {
  const AF_NG = 0xf03n
  const ap = (value: number): bigint => AF_NG | (BigInt(value) << 6n)
  const UXN = 1n << 54n
  const PXN = 1n << 53n
  const X = READ | EXECUTE
  const P = PRIVILEGED

  /** The manual's examples, and those beside them. AP 00: only privileged; 01: all; 10, 11 without writing. */
  const rows: [name: string, leaf: bigint, access: number, granted: string][] = [
    ['NW, user-RO', ap(3), READ, 'r--'],
    ['write, user-RW', ap(1), READ | WRITE, 'rw-'],
    ['write, user-RO', ap(3), READ | WRITE, 'r--'],
    ['write with privilege, AP 00', ap(0), READ | WRITE | P, 'rw-'],
    ['NW and execute, user-RW and never executed', ap(1) | UXN, X, 'r--'],
    ['NW, user-RW', ap(1), READ, 'r--'],
    ['write and execute, user-RW', ap(1), X | WRITE, 'rwx'],
    ['write and execute, user-X alone', ap(0), X | WRITE, '---'],
    ['execute with privilege, privileged alone', ap(0) | UXN, X | P, 'r-x'],
    ['execute with privilege, PXN', ap(0) | PXN, X | P, 'r--'],
    ['privilege, user-RO', ap(3), READ | WRITE | P, 'r--'],
  ]
  it.each(rows)('%s', (_name, leaf, access, granted) => {
    const bench = new AtsBench().stageOne({ S1CDMax: 1, S1DSS: 2 }, leaf)
    bench.cd(bench.cdTable + 64, contextFields(7, bench.s1))
    const expected = granted === '---' ? 'nothing/12' : `${granted} 80000000/12`
    expect(bench.request(VA, { pasid: 1, access })).toBe(expected)
    // The same from the TLB, if it is there.
    expect(bench.request(VA, { pasid: 1, access })).toBe(expected)
  })

  it('without a PASID ignores the wish to execute, and privilege', () => {
    const bench = new AtsBench().stageOne({}, ap(1))
    expect(bench.request(VA, { access: X | WRITE | P })).toBe('rw- 80000000/12')
    expect(new AtsBench().stageOne({}, ap(0)).request(VA, { access: X | P })).toBe('nothing/12')
  })

  const overrides: [
    name: string,
    ste: Parameters<AtsBench['ste']>[1],
    leaf: bigint,
    access: number,
    granted: string,
  ][] = [
    ['INSTCFG = instruction: execute-only can be read', { INSTCFG: 3 }, ap(0), X, 'r-x'],
    ['INSTCFG = instruction: what is never executed is not read', { INSTCFG: 3 }, ap(3) | UXN, X, '---'],
    ['INSTCFG = instruction: writing is as ever', { INSTCFG: 3 }, ap(1) | UXN, X | WRITE, '-w-'],
    ['INSTCFG = instruction: execute is granted only on request', { INSTCFG: 3 }, ap(3), READ, 'r--'],
    ['INSTCFG = data: what can be read can be executed', { INSTCFG: 2 }, ap(3) | UXN, X, 'r-x'],
    ['INSTCFG = data: execute is granted only on request', { INSTCFG: 2 }, ap(3) | UXN, READ, 'r--'],
    ['INSTCFG = data: execute-only gives nothing', { INSTCFG: 2 }, ap(0), X, '---'],
    ['PRIVCFG = unprivileged', { PRIVCFG: 2 }, ap(0) | UXN, READ | WRITE | P, '---'],
    ['PRIVCFG = privileged', { PRIVCFG: 3 }, ap(0), READ | WRITE, 'rw-'],
  ]
  it.each(overrides)('%s', (_name, ste, leaf, access, granted) => {
    const bench = new AtsBench().stageOne({ S1CDMax: 1, S1DSS: 2, ...ste }, leaf)
    bench.cd(bench.cdTable + 64, contextFields(7, bench.s1))
    expect(bench.request(VA, { pasid: 1, access })).toBe(granted === '---' ? 'nothing/12' : `${granted} 80000000/12`)
  })

  it('combines both stages', () => {
    expect(new AtsBench().nested({}, S1.RW, S2.RO).request(VA, { access: READ | WRITE })).toBe('r-- a0000000/12')
    expect(new AtsBench().nested({}, S1.RO, S2.RW).request(VA, { access: READ | WRITE })).toBe('r-- a0000000/12')
    expect(new AtsBench().nested({}, S1.RW, S2.WO).request(VA, { access: READ | WRITE })).toBe('-w- a0000000/12')
    expect(new AtsBench().nested({}, S1.RW, S2.WO).request(VA)).toBe('nothing/12')
  })
})

describe('the size of what is granted', () => {
  it('is that of the leaf, and the address the one that was asked for', () => {
    const bench = new AtsBench().stageOne()
    bench.map(bench.s1, 0x40000000n, 0xc0000000n | S1.BLOCK_RW, 2)
    expect(bench.request(0x40012345n)).toBe('r-- c0012345/21')
  })

  it('is that of the smaller leaf of two stages', () => {
    const bench = new AtsBench().nested()
    bench.map(bench.s1, 0x40000000n, IPA | S1.BLOCK_RW, 2, GUEST)
    expect(bench.request(0x40000123n)).toBe('r-- a0000123/12')
    const other = new AtsBench().switch(1).nested({ EATS: 2 })
    other.map(other.s2, BigInt(GUEST) + 0x40000000n, 0xc0000000n | S2.BLOCK_RW, 2)
    other.map(other.s1, VA, (BigInt(GUEST) + 0x40003000n) | S1.RW, 3, GUEST)
    expect(other.request(VA)).toBe('r-- 140003000/12')
  })
})

describe('[SMMU 13.6.4, 13.6.5] ATS that skips stage 1 (S1DSS = 01)', () => {
  const skip = { S1CDMax: 2, S1DSS: 1 }

  it('is an identity that may be read and written, without stage 2', () => {
    const bench = new AtsBench().stageOne(skip)
    expect(bench.request(0x1234_5678n)).toBe('rw- 12345678/12')
    expect(bench.request(2n ** 52n)).toBe('nothing/12')
  })

  it('is what stage 2 says, under full ATS', () => {
    const bench = new AtsBench().nested(skip, S1.RW, S2.RO)
    expect(bench.request(IPA + 8n, { access: READ | WRITE })).toBe('r-- a0000008/12')
    expect(bench.request(IPA + 0x100000n)).toBe('nothing/12')
    expect(bench.request(2n ** 52n)).toBe('nothing/12')
  })

  it('is the IPA with the rights and the size of stage 2, under split-stage ATS', () => {
    const bench = new AtsBench().switch(1).nested({ ...skip, EATS: 2 }, S1.RW, S2.RO)
    expect(bench.request(IPA + 8n, { access: READ | WRITE })).toBe('r-- 190000008/12')
    bench.map(bench.s2, 0x40000000n, 0xc0000000n | S2.BLOCK_RW, 2)
    expect(bench.request(0x40012345n, { access: READ | WRITE })).toBe('rw- 40012345/21')
    // Never readable: nothing is left for a request that does not write.
    bench.map(bench.s2, 0x50000000n, 0xc0000000n | S2.WO)
    expect(bench.request(0x50000000n)).toBe('nothing/12')
  })
})

describe('a translation request and the caches', () => {
  it('fills the TLB and is answered by it', () => {
    const bench = new AtsBench().nested()
    expect(bench.send(REQUEST.TRANSLATION, VA, {}).hit).toBe(0)
    expect(bench.outcome(SID, VA).hit).toBe(1)
    expect(bench.send(REQUEST.TRANSLATION, VA, {}).hit).toBe(1)
    const split = new AtsBench().switch(1).nested({ EATS: 2 })
    for (const hit of [0, 1]) {
      const { address, hit: got } = split.send(REQUEST.TRANSLATION, VA + 4n, {})
      expect([address, got]).toEqual([Number(IPA) + 4, hit])
    }
  })

  it('counts the IPA cache where stage 1 is skipped', () => {
    const bench = new AtsBench().stageTwo()
    expect([0, 1].map(() => bench.send(REQUEST.TRANSLATION, IPA, {}).hit)).toEqual([0, 1])
    expect(bench.unit.counters).toMatchObject({ translations: 2, hits: 1, misses: 1 })
  })

  it('is answered from them alone by peek, which says when something is not there', () => {
    const bench = new AtsBench().nested()
    const [transaction, outcome] = [new Transaction(), new Outcome()]
    Object.assign(transaction, { rid: SID, type: REQUEST.TRANSLATION, lo: Number(VA & 0xffffffffn), hi: 0x76 })
    expect(bench.unit.peek(transaction, outcome)).toBe(false)
    bench.request(VA)
    expect(bench.unit.peek(transaction, outcome)).toBe(true)
    expect([outcome.address, outcome.rights]).toEqual([Number(PA2), READ])
    const without = new AtsBench({ preset: 'default' }).nested()
    without.dma(SID, VA)
    expect(without.unit.peek(transaction, outcome)).toBe(false)
  })

  it('names the command that was forgotten', () => {
    const bench = new AtsBench().stageOne()
    bench.request(VA)
    bench.map(bench.s1, VA, 0x70000000n | S1.RW)
    const transaction = new Transaction()
    Object.assign(transaction, { rid: SID, type: REQUEST.TRANSLATION, lo: Number(VA & 0xffffffffn), hi: 0x76 })
    expect(bench.unit.missing(transaction).map(({ name }) => name)).toEqual(['TLBI_NH_VA'])
  })
})

describe('an explained translation request', () => {
  const steps = (bench: AtsBench, va: bigint, access: number = READ): WalkStep[] => {
    const transaction = new Transaction()
    Object.assign(transaction, { rid: SID, type: REQUEST.TRANSLATION, access })
    Object.assign(transaction, { lo: Number(va & 0xffffffffn), hi: Number(va >> 32n) })
    const found: WalkStep[] = []
    bench.unit.explain(transaction, new Outcome(), { step: (step) => found.push(step) })
    return found
  }

  it('ends in what is granted, and in which address space', () => {
    expect(steps(new AtsBench().nested(), VA, READ | WRITE).at(-1)).toMatchObject({
      what: 'completion',
      verdict: 'granted: 4 KiB, read-write',
      target: { space: 'pa', address: Number(PA2) },
    })
    const split = steps(new AtsBench().switch(1).nested({ EATS: 2 }), VA)
    expect(split.find(({ what }) => what === 'STE')?.texts).toMatchObject({ EATS: 'ATS: split-stage' })
    expect(split.at(-1)?.target).toEqual({ space: 'ipa', address: Number(IPA) })
    const executes = new AtsBench().stageOne({ INSTCFG: 3 })
    expect(steps(executes, VA).at(-1)?.verdict).toBe('granted: 4 KiB, read-only')
  })

  it('ends in what denies it', () => {
    expect(steps(new AtsBench().stageOne({}, 0n), VA).at(-1)?.verdict).toBe('F_TRANSLATION: nothing is granted')
    const off = new AtsBench().stageOne({ EATS: 0 })
    expect(steps(off, VA).at(-1)?.verdict).toBe('F_BAD_ATS_TREQ')
    off.ste(SID, { V: 1, Config: 0 })
    expect(steps(off, VA).at(-1)?.verdict).toBe('STE.Config aborts silently')
    off.ste(SID, { V: 0 })
    expect(steps(off, VA).at(-1)?.verdict).toBe('C_BAD_STE, not recorded')
    expect(off.events()).toEqual([])
  })
})
