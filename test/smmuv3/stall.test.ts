import { describe, expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import { CONFIG, OFFSET, PAGE_1 } from '../../hw-model/smmuv3/index.js'
import { contextFields, S1 } from './bench.js'
import {
  ABORT,
  OTHER,
  PA,
  PAGE,
  RAZ_WI,
  RETRY,
  resume,
  SID,
  stags,
  stalling,
  stalls,
  stallTerm,
  VA,
} from './stalling.js'

const { READ, WRITE, EXECUTE, PRIVILEGED } = ACCESS

describe('[SMMU 3.12.2 Stall model] a stalled transaction', () => {
  it('is held, and recorded with Stall = 1 and a STAG', () => {
    const { bench } = stalling()
    expect(bench.dma(SID, VA)).toBe('pending 1')
    expect(bench.dma(SID, VA, { access: WRITE })).toBe('pending 2')
    expect(bench.dma(OTHER, VA, { access: READ | EXECUTE | PRIVILEGED })).toBe('pending 3')
    expect(bench.events()).toEqual([
      [0x0000000200000010n, 0x0000020880000000n, VA, 0n],
      [0x0000000200000010n, 0x0000020080000001n, VA, 0n],
      [0x0000000500000010n, 0x0000020e80000002n, VA, 0n],
    ])
    expect([bench.unit.stalls.recorded, bench.unit.stalls.unrecorded, bench.endings]).toEqual([3, 0, []])
  })

  it('is recorded although R is 0, and stalls whatever A says', () => {
    for (const cd of [{ R: 0 }, { A: 0 }, { R: 0, A: 0 }]) {
      const { bench } = stalling({}, cd)
      expect(bench.dma(SID, VA)).toBe('pending 1')
      expect(bench.events().length).toBe(1)
    }
  })

  it('translates when it is retried and its page is there by then', () => {
    const { bench, root } = stalling()
    bench.dma(SID, VA)
    bench.map(root, PAGE, PA | S1.RW)
    bench.commands(resume(RETRY | ABORT, 0n))
    expect(bench.endings).toEqual([[1, 'ok 80000abc']])
    expect(bench.events().length).toBe(1)
    expect(bench.unit.stalls.recorded).toBe(0)
  })

  it('that is retried without that stalls again under its tag, with a new record and a new STAG', () => {
    const { bench, root } = stalling()
    bench.dma(SID, VA)
    bench.commands(resume(RETRY, 0n))
    expect(stags(bench)).toEqual([0n, 1n])
    expect(bench.endings).toEqual([])
    bench.map(root, PAGE, PA | S1.RW)
    bench.commands(resume(RETRY, 0n))
    expect(bench.endings).toEqual([])
    bench.commands(resume(RETRY, 1n))
    expect(bench.endings).toEqual([[1, 'ok 80000abc']])
  })

  it('that is retried meets the configuration of that moment', () => {
    const { bench } = stalling()
    bench.dma(SID, VA)
    bench.dma(OTHER, VA)
    bench.ste(SID, { V: 1, Config: CONFIG.ABORT })
    bench.ste(OTHER, { V: 1, Config: CONFIG.BYPASS })
    bench.commands([0x04n, 0x1fn], resume(RETRY, 0n), resume(RETRY, 1n, OTHER))
    expect(bench.endings).toEqual([
      [1, 'aborted'],
      [2, 'ok 123456789abc'],
    ])
    bench.dma(SID, VA)
    expect(bench.events().length).toBe(2)
  })

  it('keeps its SubstreamID', () => {
    const { bench } = stalling()
    const table = bench.alloc()
    bench.cd(table + 4 * 64, { ...contextFields(1, bench.alloc()), S: 1 })
    bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1CDMax: 3, S1ContextPtr: table })
    bench.dma(SID, VA, { pasid: 4 })
    bench.commands(resume(RETRY, 0n))
    const dw0 = 0x0000000200004810n
    expect(bench.events().map((record) => record[0])).toEqual([dw0, dw0])
  })

  const pages: [name: string, leaf: bigint, access: number, id: bigint][] = [
    ['F_TRANSLATION', 0n, READ, 0x10n],
    ['F_ADDR_SIZE', (1n << 47n) | S1.RW, READ, 0x11n],
    ['F_ACCESS', PA | 0x43n, READ, 0x12n],
    ['F_PERMISSION', PA | S1.RO, WRITE, 0x13n],
  ]
  it.each(pages)('may be one of %s', (_name, leaf, access, id) => {
    const { bench, root } = stalling({}, { IPS: 2 })
    bench.map(root, PAGE, leaf)
    expect(bench.dma(SID, VA, { access })).toBe('pending 1')
    expect(bench.events().map(([dw0, dw1]) => [dw0 & 0xffn, (dw1 >> 31n) & 1n])).toEqual([[id, 1n]])
  })

  it('is never one whose table cannot be read', () => {
    const { bench, root } = stalling()
    bench.map(root, PAGE, PA | S1.RW)
    bench.poke(root + Number((VA >> 39n) & 0x1ffn) * 8, 0x200000000003n)
    expect(bench.dma(SID, VA)).toBe('F_WALK_EABT')
    expect(bench.events()[0][1] & 0x80000000n).toBe(0n)
  })

  it('is never one that bypasses stage 1 with an address that is too wide', () => {
    const { bench } = stalling({}, {}, { S1CDMax: 1, S1DSS: 1 })
    expect(bench.dma(SID, 1n << 48n)).toBe('F_ADDR_SIZE')
    expect(bench.events()).toEqual([[0x0000000200000011n, 0x0000020800000000n, 1n << 48n, 0n]])
  })
})

describe('[SMMU 4.7.1 CMD_RESUME]', () => {
  it('terminates with an abort, or so that reads are zero and writes are ignored', () => {
    const { bench } = stalling()
    bench.dma(SID, VA)
    bench.dma(SID, VA, { access: WRITE })
    bench.commands(resume(ABORT, 0n), resume(RAZ_WI, 1n))
    expect(bench.endings).toEqual([
      [1, 'aborted'],
      [2, 'raz/wi event 0x00'],
    ])
  })

  it('always aborts where TERM_MODEL is 1', () => {
    const id = stalls(64)
    const { bench } = stalling({ id: { ...id, IDR0: ((id.IDR0 ?? 0) | (1 << 26)) >>> 0 } })
    bench.dma(SID, VA)
    bench.commands(resume(RAZ_WI, 0n))
    expect(bench.endings).toEqual([[1, 'aborted']])
  })

  it.each([
    ['another stream', resume(ABORT, 0n, OTHER)],
    ['a stream with the same low bits', resume(ABORT, 0n, SID + 2 ** 16)],
    ['a STAG that nobody has', resume(ABORT, 1n)],
    ['a STAG beyond every place', resume(ABORT, 0xffffn)],
  ])('for %s has no effect', (_name, command) => {
    const { bench } = stalling()
    bench.dma(SID, VA)
    bench.commands(command)
    expect([bench.endings, bench.read(OFFSET.GERROR), bench.unit.stalls.recorded]).toEqual([[], 0, 1])
    bench.commands(resume(ABORT, 0n))
    expect(bench.endings).toEqual([[1, 'aborted']])
    bench.commands(resume(ABORT, 0n))
    expect(bench.endings.length).toBe(1)
  })

  it('frees its STAG, and the one that was freed first is used first', () => {
    const { bench } = stalling({ id: stalls(1) })
    const seen: bigint[] = []
    for (let i = 0; i < 40; i++) {
      expect(bench.dma(SID, VA)).toBe(`pending ${i + 1}`)
      const [stag] = stags(bench)
      seen.push(stag)
      bench.commands(resume(ABORT, stag))
    }
    // One place for the record, sixteen for those that wait.
    expect(seen).toEqual(Array.from({ length: 40 }, (_, i) => BigInt(i % 17)))
  })

  it('takes several stalls of one stream in any order', () => {
    const { bench } = stalling()
    for (let i = 0; i < 4; i++) bench.dma(SID, VA)
    bench.commands(resume(ABORT, 2n), resume(RAZ_WI, 0n), resume(ABORT, 3n))
    expect(bench.endings.map(([tag]) => tag)).toEqual([3, 1, 4])
    expect(bench.unit.stalls.recorded).toBe(1)
  })

  it('and CMD_STALL_TERM with SSec are CERROR_ILL', () => {
    for (const opcode of [0x444n, 0x445n]) {
      const { bench } = stalling()
      bench.commands([opcode, 0n])
      expect(bench.read(OFFSET.CMDQ_CONS)).toBe(1 << 24)
    }
  })
})

describe('[SMMU 4.7.2 CMD_STALL_TERM]', () => {
  it('aborts what its stream has stalled, and nothing else', () => {
    const { bench } = stalling()
    for (const sid of [SID, OTHER, SID]) bench.dma(sid, VA)
    bench.commands(stallTerm(SID))
    expect(bench.endings).toEqual([
      [1, 'aborted'],
      [3, 'aborted'],
    ])
    bench.commands(stallTerm(7), resume(ABORT, 0n), resume(ABORT, 2n))
    expect([bench.endings.length, bench.unit.stalls.recorded]).toEqual([2, 1])
  })

  it('reaches those that are not recorded, whose records are never made', () => {
    const { bench } = stalling({ id: stalls(1) })
    for (const sid of [OTHER, SID, SID]) bench.dma(sid, VA)
    expect([bench.unit.stalls.recorded, bench.unit.stalls.unrecorded]).toEqual([1, 2])
    bench.commands(stallTerm(SID), resume(ABORT, 0n, OTHER))
    expect(bench.endings.map(([tag]) => tag)).toEqual([2, 3, 1])
    expect(bench.events().length).toBe(1)
  })

  it('ends a stream as the manual describes, without a stall record after the CMD_SYNC', () => {
    const { bench } = stalling({ id: stalls(1), eventLg2: 3 })
    for (let i = 0; i < 3; i++) bench.dma(SID, VA)
    bench.ste(SID, { V: 1, Config: CONFIG.ABORT })
    bench.commands([0x0000000200000003n, 1n], [0x46n, 0n])
    bench.events()
    bench.commands(stallTerm(SID), [0x46n, 0n])
    expect(bench.endings.map(([, answer]) => answer)).toEqual(['aborted', 'aborted', 'aborted'])
    expect(bench.events()).toEqual([])
  })
})

describe('[SMMU 6.3.9.6 SMMUEN] going to 0', () => {
  it('aborts every stall and frees every STAG', () => {
    const { bench } = stalling({ id: stalls(2) })
    for (const sid of [SID, OTHER, SID]) bench.dma(sid, VA)
    bench.write(OFFSET.CR0, 0b1100)
    expect(bench.endings.map(([tag, answer]) => `${tag} ${answer}`).sort()).toEqual([
      '1 aborted',
      '2 aborted',
      '3 aborted',
    ])
    expect([bench.unit.stalls.recorded, bench.unit.stalls.unrecorded, bench.unit.hasWork]).toEqual([0, 0, false])
    bench.write(OFFSET.CR0, 0b1101)
    for (let i = 4; i < 6; i++) expect(bench.dma(SID, VA)).toBe(`pending ${i}`)
    expect(stags(bench).length).toBe(4)
  })

  it('that stays 1 or 0 ends nothing', () => {
    const { bench } = stalling()
    bench.dma(SID, VA)
    bench.write(OFFSET.CR0, 0b0101)
    bench.write(OFFSET.CR0, 0b1101)
    expect(bench.endings).toEqual([])
  })

  it('is followed by a reset that tells of everything at once', () => {
    const { bench } = stalling({ eventLg2: 7, commandLg2: 7 })
    for (let i = 0; i < 80; i++) bench.dma(SID, VA)
    bench.unit.reset()
    expect(bench.endings.length).toBe(80)
    expect(new Set(bench.endings.map(([, answer]) => answer))).toEqual(new Set(['aborted']))
  })
})

describe('IDR5.STALL_MAX', () => {
  it('bounds the records that are not answered; later stalls wait for one of them', () => {
    const { bench } = stalling({ id: stalls(2) })
    for (let i = 0n; i < 4n; i++) bench.dma(SID, VA + i * 4096n)
    expect(bench.events().map((record) => record[2])).toEqual([VA, VA + 4096n])
    bench.commands(resume(ABORT, 1n))
    const [third] = bench.events()
    expect([third[2], (third[1] >> 31n) & 1n]).toEqual([VA + 8192n, 1n])
    expect(bench.endings).toEqual([[2, 'aborted']])
    expect([bench.unit.stalls.recorded, bench.unit.stalls.unrecorded]).toEqual([2, 1])
  })

  it('and sixteen more are all that wait: whoever finds no place aborts, unseen', () => {
    const { bench } = stalling({ id: stalls(3) })
    const answers = Array.from({ length: 21 }, () => bench.dma(SID, VA).replace(/ .*/, ''))
    expect(answers).toEqual([...Array(19).fill('pending'), 'aborted', 'aborted'])
    expect([bench.events().length, bench.read(PAGE_1 + OFFSET.EVENTQ_PROD)]).toEqual([3, 3])
    bench.commands(resume(ABORT, 0n))
    expect(bench.dma(SID, VA)).toBe('pending 20')
  })

  it('leaves nobody behind who would translate', () => {
    const { bench, root } = stalling({ id: stalls(1) })
    for (let i = 0; i < 17; i++) bench.dma(SID, VA)
    bench.map(root, 0x5000n, PA | S1.RW)
    expect([bench.dma(SID, VA), bench.dma(SID, 0x5000n)]).toEqual(['aborted', 'ok 80000000'])
  })

  it('of 65535 leaves one place to wait, for a STAG has 16 bits', () => {
    const { bench } = stalling({ id: stalls(0xffff), eventLg2: 0 })
    expect([bench.dma(SID, VA), bench.dma(SID, VA)]).toEqual(['pending 1', 'pending 2'])
    bench.commands(stallTerm(SID))
    expect(bench.endings.length).toBe(2)
  })
})
