import { describe, expect, it } from 'vitest'
import { ACCESS, NO_PASID, Outcome, REQUEST, Transaction } from '../../hw-model/port.js'
import { CONFIG, idRegisters, OFFSET, PRESETS } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, NO_LEAVES, S1, S2, stageTwoFields } from './bench.js'

const SID = 2
const VA = 0x123456789000n
const { READ, WRITE, EXECUTE, PRIVILEGED } = ACCESS

type CdFields = Parameters<Bench['cd']>[1]
type SteFields = Parameters<Bench['ste']>[1]

/** A stream on stage 1 with one page mapped by `leaf`. */
function stageOne(leaf: bigint, cd: CdFields = {}, ste: SteFields = {}, options = {}): { bench: Bench; root: number } {
  const bench = new Bench(options)
  const root = bench.alloc()
  const at = bench.alloc()
  bench.map(root, VA, leaf)
  bench.cd(at, { ...contextFields(1, root), ...cd })
  bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: at, ...ste })
  return { bench, root }
}

const PA = 0x80000000n
const AF = 1n << 10n
const UXN = 1n << 54n
const PXN = 1n << 53n
const ap = (value: number): bigint => BigInt(value) << 6n

/** R, W and X for unprivileged, then for privileged accesses. */
function rightsOf(bench: Bench): string {
  const one = (access: number, letter: string): string =>
    bench.dma(SID, VA, { access }).startsWith('ok') ? letter : '-'
  const row = (p: number): string => one(READ | p, 'r') + one(WRITE | p, 'w') + one(READ | EXECUTE | p, 'x')
  return `${row(0)} ${row(PRIVILEGED)}`
}

describe('[Arm D8.4] stage 1 permissions', () => {
  const rows: [name: string, leaf: bigint, cd: CdFields, rights: string][] = [
    ['AP 00', ap(0), {}, '--x rwx'],
    ['AP 01: what user code writes, privileged code does not execute', ap(1), {}, 'rwx rw-'],
    ['AP 10', ap(2), {}, '--x r-x'],
    ['AP 11', ap(3), {}, 'r-x r-x'],
    ['UXN', ap(3) | UXN, {}, 'r-- r-x'],
    ['PXN', ap(3) | PXN, {}, 'r-x r--'],
    ['WXN', ap(1), { WXN: 1 }, 'rw- rw-'],
    ['WXN of a privileged page', ap(0), { WXN: 1 }, '--x rw-'],
    ['PAN', ap(1), { PAN: 1 }, 'rwx ---'],
    ['PAN of a privileged page', ap(0), { PAN: 1 }, '--x rwx'],
  ]
  it.each(rows)('%s', (_name, bits, cd, rights) => {
    // Cached and walked alike: the second sweep finds what the first one kept.
    const { bench } = stageOne(PA | AF | 3n | bits, cd)
    expect([rightsOf(bench), rightsOf(bench)]).toEqual([rights, rights])
    expect(rightsOf(stageOne(PA | AF | 3n | bits, cd, {}, { caches: NO_LEAVES }).bench)).toBe(rights)
  })

  const tables: [name: string, bits: bigint, cd: CdFields, rights: string][] = [
    ['APTable 01', 1n << 61n, {}, '--x rwx'],
    ['APTable 10', 1n << 62n, {}, 'r-x r-x'],
    ['UXNTable', 1n << 60n, {}, 'rw- rw-'],
    ['PXNTable', (1n << 59n) | (1n << 62n), {}, 'r-x r--'],
    ['APTable with HAD0', 3n << 61n, { HAD0: 1 }, 'rwx rw-'],
  ]
  it.each(tables)('%s above an AP 01 page', (_name, bits, cd, rights) => {
    const { bench, root } = stageOne(PA | AF | 3n | ap(1), cd)
    const slot = root + Number((VA >> 39n) & 0x1ffn) * 8
    bench.poke(slot, bench.peek(slot) | bits)
    expect(rightsOf(bench)).toBe(rights)
  })

  it('PRIVCFG and INSTCFG override what comes in, and events say so', () => {
    const { bench } = stageOne(PA | AF | 3n | ap(0) | PXN, {}, { PRIVCFG: 3, INSTCFG: 2 })
    expect(rightsOf(bench)).toBe('rwx rwx')
    const denied = stageOne(PA | AF | 3n | ap(2), {}, { PRIVCFG: 3 }).bench
    expect(denied.dma(SID, VA, { access: WRITE })).toBe('F_PERMISSION')
    expect(denied.events()[0][1]).toBe(0x0000020200000000n)
  })
})

describe('[Arm D8.4] stage 2 permissions', () => {
  const xn = (value: number): bigint => BigInt(value) << 53n
  const rows: [name: string, leaf: bigint, rights: string][] = [
    ['S2AP 01', S2.RO, 'r-x r-x'],
    ['S2AP 10', S2.WO, '-wx -wx'],
    ['XN 01', S2.RW | xn(1), 'rwx rw-'],
    ['XN 10', S2.RW | xn(2), 'rw- rw-'],
    ['XN 11', S2.RW | xn(3), 'rw- rwx'],
  ]
  it.each(rows)('%s', (_name, leaf, rights) => {
    const bench = new Bench()
    const root = bench.alloc()
    bench.map(root, VA, PA | leaf)
    bench.ste(SID, { ...stageTwoFields(1, root), V: 1, Config: CONFIG.S2_TRANS })
    expect([rightsOf(bench), rightsOf(bench)]).toEqual([rights, rights])
  })
})

describe('[SMMU 5.5 Fault configuration] CD.R and CD.A', () => {
  const rows: [r: number, a: number, answer: string, records: number][] = [
    [1, 1, 'F_TRANSLATION', 1],
    [0, 1, 'aborted', 0],
    [1, 0, 'raz/wi F_TRANSLATION', 1],
    [0, 0, 'raz/wi F_TRANSLATION', 0],
  ]
  it.each(rows)('R = %i, A = %i', (r, a, answer, records) => {
    const { bench } = stageOne(PA | S1.RW, { R: r, A: a })
    expect(bench.dma(SID, 0x5000n)).toBe(answer)
    expect(bench.events().length).toBe(records)
  })

  it('A = 0 is illegal where TERM_MODEL is 1', () => {
    const { bench } = stageOne(PA | S1.RW, { A: 0 }, {}, { preset: 'qemu' })
    expect(bench.dma(SID, VA)).toBe('C_BAD_CD')
  })
})

describe('a stage 1 walk', () => {
  it('checks the output size at tables and at leaves, at every level', () => {
    for (let level = 0; level < 4; level++) {
      const { bench, root } = stageOne(PA | S1.RW, { IPS: 2 })
      let table = root
      for (let l = 0; l < level; l++) table = Number(bench.peek(slotOf(table, l)) & 0xfffffffff000n)
      const slot = slotOf(table, level)
      bench.poke(slot, bench.peek(slot) | (1n << 40n))
      expect(bench.dma(SID, VA), `level ${level}`).toBe('F_ADDR_SIZE')
    }
  })

  it('faults on a clear access flag, unless AFFD', () => {
    expect(stageOne(PA | 0x43n).bench.dma(SID, VA)).toBe('F_ACCESS')
    expect(stageOne(PA | 0x43n, { AFFD: 1 }).bench.dma(SID, VA)).toBe('ok 80000000')
  })

  it('reports an entry that cannot be read as F_WALK_EABT with its address', () => {
    const { bench, root } = stageOne(PA | S1.RW)
    bench.poke(slotOf(root, 0), 0x200000000003n)
    expect(bench.dma(SID, VA)).toBe('F_WALK_EABT')
    const slot = 0x200000000000n + ((VA >> 30n) & 0x1ffn) * 8n
    expect(bench.events()).toEqual([[0x000000020000000bn, 0x0000010800000000n, VA, slot]])
  })

  it('reserves 01 at the last level, and blocks at the first', () => {
    expect(stageOne(PA | 0xf41n).bench.dma(SID, VA)).toBe('F_TRANSLATION')
    const { bench, root } = stageOne(PA | S1.RW)
    bench.poke(slotOf(root, 0), S1.BLOCK_RW)
    expect(bench.dma(SID, VA)).toBe('F_TRANSLATION')
  })

  it('ignores the top byte with TBI0 and keeps it in the record', () => {
    const tagged = VA | (0x7en << 56n)
    expect(stageOne(PA | S1.RW).bench.dma(SID, tagged)).toBe('F_TRANSLATION')
    const { bench } = stageOne(PA | S1.RW, { TBI0: 1 })
    expect(bench.dma(SID, tagged)).toBe('ok 80000000')
    expect(bench.dma(SID, tagged ^ 0x1000n)).toBe('F_TRANSLATION')
    expect(bench.events()[0][2]).toBe(tagged ^ 0x1000n)
  })

  it('takes TTB1 for addresses with bit 55 set', () => {
    const { bench, root } = stageOne(PA | S1.RW, { EPD1: 0, T1SZ: 16, TG1: 2, EPD0: 1, TTB1: 0 })
    const high = 0xffff000000000000n
    expect(bench.dma(SID, VA)).toBe('F_TRANSLATION')
    const cd = bench.peek(bench.streamTable + SID * 64) & 0xfffffffffc0n
    bench.poke(Number(cd) + 16, BigInt(root))
    bench.commands([0x0000_0002_0000_0003n, 1n])
    expect(bench.dma(SID, high | VA)).toBe('ok 80000000')
    expect(bench.dma(SID, (high ^ (1n << 56n)) | VA)).toBe('F_TRANSLATION')
  })

  it.each([
    [16, 2, 3, [0, 0x123, 0x22b, 0x1e2]],
    [16, 1, 2, [0x4, 0x11a2, 0x1678]],
  ])('T0SZ %i with TG0 code %i finds its page in %i steps and more', (t0sz, tg0, _steps, indices) => {
    const bench = new Bench()
    const granule = tg0 === 2 ? 16384 : 65536
    let table = bench.alloc(granule)
    const root = table
    for (const [i, index] of indices.entries()) {
      const isLeaf = i === indices.length - 1
      const next = isLeaf ? 0x90000000 : bench.alloc(granule)
      bench.poke(table + index * 8, BigInt(next) | (isLeaf ? S1.RW : S1.TABLE))
      table = next
    }
    const cd = bench.alloc()
    bench.cd(cd, { ...contextFields(1, root), T0SZ: t0sz, TG0: tg0 })
    bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
    const out = bench.outcome(SID, 0x123456789abcn)
    expect(bench.describe(out)).toBe(`ok ${(0x90000000 + (0x123456789abc % granule)).toString(16)}`)
    expect(2 ** out.leafLg2).toBe(granule)
  })
})

const slotOf = (table: number, level: number): number => table + Number((VA >> BigInt(39 - 9 * level)) & 0x1ffn) * 8

describe('configuration', () => {
  const bad: [name: string, ste: SteFields][] = [
    ['V = 0', { V: 0 }],
    ['S1STALLD on a unit that cannot stall', { S1STALLD: 1 }],
    ['S1CDMax beyond SSIDSIZE', { S1CDMax: 21 }],
    ['S1ContextPtr beyond the output size', { S1ContextPtr: 2 ** 50 }],
    ['S2AA64 = 0', { Config: 6, ...stageTwoFields(1, 0), S2AA64: 0 }],
    ['S2S on a unit that cannot stall', { Config: 6, ...stageTwoFields(1, 0), S2S: 1 }],
    ['S2TG = 3', { Config: 6, ...stageTwoFields(1, 0), S2TG: 3 }],
    ['S2T0SZ = 15', { Config: 6, ...stageTwoFields(1, 0), S2T0SZ: 15 }],
    ['S2SL0 too low for S2T0SZ', { Config: 6, ...stageTwoFields(1, 0), S2SL0: 1 }],
    ['S2SL0 = 3', { Config: 6, ...stageTwoFields(1, 0), S2SL0: 3 }],
    ['S2ENDI', { Config: 6, ...stageTwoFields(1, 0), S2ENDI: 1 }],
    ['S2TTB beyond S2PS', { Config: 6, ...stageTwoFields(1, 2 ** 36), S2PS: 1 }],
  ]
  it.each(bad)('%s is C_BAD_STE', (_name, ste) => {
    const { bench } = stageOne(PA | S1.RW, {}, ste)
    expect(bench.dma(SID, VA)).toBe('C_BAD_STE')
    expect(bench.events()).toEqual([[0x0000000200000004n, 0n, 0n, 0n]])
  })

  it('HA and S2HA are ILLEGAL where IDR0.HTTU, bits 7:6, is 0', () => {
    const options = { id: { IDR0: PRESETS.default.IDR0 & ~(3 << 6) } }
    expect(stageOne(PA | S1.RW, { HA: 1 }, {}, options).bench.dma(SID, VA)).toBe('C_BAD_CD')
    const ste = { Config: 6, ...stageTwoFields(1, 0), S2HA: 1 }
    expect(stageOne(PA | S1.RW, {}, ste, options).bench.dma(SID, VA)).toBe('C_BAD_STE')
  })

  const badCds: [name: string, cd: CdFields][] = [
    ['V = 0', { V: 0 }],
    ['S', { S: 1 }],
    ['AA64 = 0', { AA64: 0 }],
    ['ENDI', { ENDI: 1 }],
    ['T0SZ = 40', { T0SZ: 40 }],
    ['TG0 = 3', { TG0: 3 }],
    ['TTB0 beyond IPS', { TTB0: 2 ** 36, IPS: 1 }],
    ['T1SZ out of range although TTB0 is used', { EPD1: 0, T1SZ: 0, TG1: 2 }],
  ]
  it.each(badCds)('CD with %s is C_BAD_CD', (_name, cd) => {
    expect(stageOne(PA | S1.RW, cd).bench.dma(SID, VA)).toBe('C_BAD_CD')
  })

  it.each([
    ['S1Fmt = 3', { S1Fmt: 3, S1CDMax: 1, S1DSS: 2 }],
    ['reserved PRIVCFG', { PRIVCFG: 1 }],
    ['EATS without ATS', { EATS: 3 }],
    ['stage 2 fields under stage 1', { S2TG: 3, S2ENDI: 1 }],
  ] as [string, SteFields][])('%s is legal', (_name, ste) => {
    expect(stageOne(PA | S1.RW, {}, ste).bench.dma(SID, VA)).toBe('ok 80000000')
  })

  it('reports an STE that cannot be read', () => {
    const bench = new Bench()
    bench.write(OFFSET.CR0, 0b1100)
    bench.write64(OFFSET.STRTAB_BASE, 2 ** 40)
    bench.write(OFFSET.CR0, 0b1101)
    expect(bench.dma(SID, VA, { pasid: 7 })).toBe('F_STE_FETCH')
    expect(bench.events()).toEqual([[0x0000000200007803n, 0n, 0n, 0x10000000080n]])
  })

  it('bounds a two-level stream table by LOG2SIZE and Span', () => {
    const bench = new Bench()
    const l1 = bench.alloc()
    const leaf = bench.alloc(16384)
    bench.poke(l1, BigInt(leaf) | 3n)
    bench.write(OFFSET.CR0, 0b1100)
    bench.write64(OFFSET.STRTAB_BASE, l1)
    bench.write(OFFSET.STRTAB_BASE_CFG, (1 << 16) | (8 << 6) | 10)
    bench.write(OFFSET.CR0, 0b1101)
    // Span 3 has four entries.
    for (const [sid, answer] of [
      [3, 'C_BAD_STE'],
      [4, 'C_BAD_STREAMID'],
      [256, 'C_BAD_STREAMID'],
      [1024, 'C_BAD_STREAMID'],
    ] as const) {
      expect(bench.dma(sid, VA), `${sid}`).toBe(answer)
    }
    bench.poke(l1, BigInt(leaf) | 10n)
    bench.commands([0x0000_0003_0000_0003n, 0n])
    expect(bench.dma(3, VA)).toBe('C_BAD_STREAMID')
  })

  it.each([
    ['a linear table', 0, 17, 0xc00000, 0x800000],
    ['a table of two levels', (1 << 16) | (8 << 6), 20, 0x809000, 0x808000],
  ])('aligns %s to the LOG2SIZE that was written, beyond SIDSIZE too', (_name, format, log2size, base, aligned) => {
    const bench = new Bench()
    const stes = format === 0 ? aligned : 0x900000
    if (format !== 0) bench.poke(aligned, BigInt(stes) | 9n)
    bench.poke(stes + SID * 64, 0x9n)
    bench.write(OFFSET.CR0, 0b1100)
    bench.write64(OFFSET.STRTAB_BASE, base)
    bench.write(OFFSET.STRTAB_BASE_CFG, format | log2size)
    bench.write(OFFSET.CR0, 0b1101)
    expect(bench.dma(SID, 0x5000n)).toBe('ok 5000')
    expect(bench.dma(2 ** 16, 0n)).toBe('C_BAD_STREAMID')
  })

  describe('ATS, which it does not offer', () => {
    const ask = (bench: Bench, sid: number, type: number, access: number = READ, pasid = NO_PASID): string => {
      const transaction = new Transaction()
      const outcome = new Outcome()
      Object.assign(transaction, { rid: sid, pasid, type, access, lo: 0x12345abc, hi: 0xffff0000 | 0 })
      bench.unit.translate(transaction, outcome)
      return bench.describe(outcome)
    }

    it('is refused on a stream with a valid STE, and recorded', () => {
      const { bench } = stageOne(PA | S1.RW)
      expect(ask(bench, SID, REQUEST.TRANSLATED)).toBe('F_TRANSL_FORBIDDEN')
      expect(ask(bench, SID, REQUEST.TRANSLATION)).toBe('F_BAD_ATS_TREQ')
      expect(bench.events()).toEqual([
        [0x0000000200000007n, 0x0000000800000000n, 0xffff000012345abcn, 0n],
        [0x0000000200000005n, 0x0000000080000001n, 0xffff000012345000n, 0n],
      ])
    })

    it('is recorded with the permissions that were asked for, of one translation unit', () => {
      const { bench } = stageOne(PA | S1.RW)
      for (const access of [READ | WRITE, READ | EXECUTE, READ | PRIVILEGED]) {
        ask(bench, SID, REQUEST.TRANSLATION, access)
        ask(bench, SID, REQUEST.TRANSLATION, access, 5)
      }
      // Only a PASID carries the wish to execute, and privilege.
      const [plain, priv, execute] = [0x80000001n, 0x90000001n, 0xa0000001n]
      const expected = [0xc0000001n, 0xc0000001n, plain, execute, plain, priv]
      expect(bench.events().map(([, dw1]) => dw1)).toEqual(expected)
    })

    it.each([REQUEST.TRANSLATION, REQUEST.TRANSLATED])('of type %i is no event without a usable STE', (type) => {
      const { bench } = stageOne(PA | S1.RW)
      bench.ste(SID + 1, { V: 1, Config: CONFIG.ABORT })
      expect([SID + 1, SID + 2, 64].map((sid) => ask(bench, sid, type))).toEqual(['aborted', 'aborted', 'aborted'])
      expect(bench.events()).toEqual([])
    })

    it('is refused and recorded while SMMUEN is 0', () => {
      const { bench } = stageOne(PA | S1.RW)
      bench.write(OFFSET.CR0, 0b1100)
      expect(ask(bench, 64, REQUEST.TRANSLATION)).toBe('F_BAD_ATS_TREQ')
      expect(ask(bench, 64, REQUEST.TRANSLATED)).toBe('F_TRANSL_FORBIDDEN')
      expect(bench.events().length).toBe(2)
    })
  })
})

describe('ID registers', () => {
  it.each([
    ['HTTU', { IDR0: 0xc0 }],
    ['PRI', { IDR0: 0x10000 }],
    ['STALL_MODEL', { IDR0: 0x3000000 }],
    ['OAS', { IDR5: 0x77 }],
    ['THE', { IDR3: 0x201414 }],
    ['ECMDQ', { IDR1: 0x80000000 | 0 }],
    ['granule', { IDR5: 5 }],
  ])('refuse an override that the model does not do: %s', (field, override) => {
    const base = idRegisters()
    const merged = 'IDR0' in override ? { IDR0: base.IDR0 | override.IDR0 } : override
    expect(() => idRegisters('default', merged)).toThrow(new RegExp(field))
  })

  it('are what the unit shows', () => {
    const bench = new Bench({ id: { IDR5: 0x14, IIDR: 0x4831043b } })
    expect([bench.read(OFFSET.IDR5), bench.read(OFFSET.IIDR), bench.read(OFFSET.AIDR)]).toEqual([0x14, 0x4831043b, 1])
    expect(bench.unit.features.oasBits).toBe(44)
  })
})
