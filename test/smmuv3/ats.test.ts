import { describe, expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import { CONFIG, idRegisters, OFFSET, PRESETS } from '../../hw-model/smmuv3/index.js'
import { AtsBench, IPA, SID, VA } from './ats-bench.js'
import { contextFields, GUEST, S1, S2 } from './bench.js'

const { READ, WRITE, EXECUTE, PRIVILEGED } = ACCESS
const NS1ATS = PRESETS.full.IDR0 | (1 << 11)

/** The stream of a row of the tables, by STE.Config. */
function stream(bench: AtsBench, config: number, eats: number): AtsBench {
  if (config === CONFIG.NESTED) return bench.nested({ EATS: eats })
  if (config === CONFIG.S2_TRANS) return bench.stageTwo({ EATS: eats })
  return bench.stageOne({ EATS: eats, Config: config })
}

const FORBIDDEN = 'F_TRANSL_FORBIDDEN'
const UR = 'UR F_BAD_ATS_TREQ'
/** What a translated access to an address as it is comes back with. */
const PASS = 'ok 190000000'

describe('[SMMU 3.9.1.2, 3.9.1.3] STE.Config, STE.EATS and CR0.ATSCHK', () => {
  const rows: [config: number, eats: number, atschk: number, request: string, translated: string][] = [
    [0b000, 0b01, 0, 'UR', PASS],
    [0b000, 0b01, 1, 'UR', 'aborted'],
    [0b011, 0b10, 1, 'UR', 'aborted'],
    [0b100, 0b00, 0, UR, PASS],
    [0b100, 0b01, 0, UR, PASS],
    [0b100, 0b01, 1, UR, FORBIDDEN],
    [0b100, 0b10, 1, UR, FORBIDDEN],
    [0b101, 0b00, 0, UR, PASS],
    [0b101, 0b00, 1, UR, FORBIDDEN],
    [0b101, 0b01, 0, 'rw- 80000000/12', PASS],
    [0b101, 0b01, 1, 'rw- 80000000/12', PASS],
    [0b101, 0b10, 0, 'CA', PASS],
    [0b101, 0b10, 1, 'CA', 'aborted'],
    [0b101, 0b11, 0, UR, PASS],
    [0b101, 0b11, 1, UR, FORBIDDEN],
    [0b110, 0b00, 0, UR, PASS],
    [0b110, 0b00, 1, UR, FORBIDDEN],
    [0b110, 0b01, 0, 'rw- a0000000/12', PASS],
    [0b110, 0b01, 1, 'rw- a0000000/12', PASS],
    [0b110, 0b10, 0, 'CA', PASS],
    [0b110, 0b10, 1, 'CA', 'aborted'],
    [0b110, 0b11, 1, UR, FORBIDDEN],
    [0b111, 0b00, 0, UR, PASS],
    [0b111, 0b00, 1, UR, FORBIDDEN],
    [0b111, 0b01, 0, 'rw- a0000000/12', PASS],
    [0b111, 0b01, 1, 'rw- a0000000/12', PASS],
    [0b111, 0b10, 0, UR, PASS],
    [0b111, 0b10, 1, 'rw- 190000000/12', 'ok a0000000'],
    [0b111, 0b11, 0, UR, PASS],
    [0b111, 0b11, 1, UR, FORBIDDEN],
  ]
  it.each(rows)('Config %i, EATS %i, ATSCHK %i', (config, eats, atschk, request, translated) => {
    const bench = stream(new AtsBench().switch(atschk), config, eats)
    expect(bench.request(config === CONFIG.S2_TRANS ? IPA : VA, { access: READ | WRITE })).toBe(request)
    expect(bench.translated(IPA, { access: WRITE })).toBe(translated)
    const names = [request, translated].map((end) => (/[A-Z]_\w+/.exec(end) ?? [''])[0])
    const numbers = bench.events().map(([dw0]) => Number(dw0 & 0xffn))
    expect(numbers).toEqual(names.flatMap((name) => ({ F_BAD_ATS_TREQ: [5], F_TRANSL_FORBIDDEN: [7] })[name] ?? []))
  })

  it('split-stage ATS is ILLEGAL where IDR0.NS1ATS says that there is none', () => {
    const bench = new AtsBench({ id: { IDR0: NS1ATS } }).switch(1, 0b1010).nested({ EATS: 2 })
    expect(bench.request(VA)).toBe('CA C_BAD_STE')
    expect(bench.translated(IPA)).toBe('C_BAD_STE')
  })

  const stalling: [config: string, eats: number, answer: string][] = [
    ['both stages', 1, 'CA C_BAD_STE'],
    ['both stages', 2, 'CA C_BAD_STE'],
    ['both stages', 3, 'UR F_BAD_ATS_TREQ'],
    ['stage 2', 1, 'CA C_BAD_STE'],
    ['stage 1', 1, 'r-- 80000000/12'],
  ]
  it.each(stalling)('S2S with %s and EATS %i', (config, eats, answer) => {
    const bench = new AtsBench().switch(1, 0b1010)
    if (config === 'both stages') bench.nested({ EATS: eats, S2S: 1 })
    if (config === 'stage 2') bench.stageTwo({ EATS: eats, S2S: 1 })
    if (config === 'stage 1') bench.stageOne({ EATS: eats, S2S: 1 })
    expect(bench.request(config === 'stage 2' ? IPA : VA)).toBe(answer)
  })

  it('EATS is ignored by a unit without ATS', () => {
    const bench = new AtsBench({ preset: 'default' }).stageOne({ EATS: 2 })
    expect(bench.dma(SID, VA)).toBe('ok 80000000')
    bench.write(OFFSET.CR0, 0b11101)
    expect(bench.read(OFFSET.CR0)).toBe(0b1101)
  })
})

describe('[SMMU 3.9.1.2 Responses to ATS Translation Requests]', () => {
  it('is UR while SMMUEN is 0, and recorded with what was asked for', () => {
    const bench = new AtsBench().stageOne()
    bench.write(OFFSET.CR0, 0b1100)
    expect(bench.request(VA + 0xabcn, { access: READ | WRITE })).toBe('UR F_BAD_ATS_TREQ')
    expect(bench.request(VA, { pasid: 0x12345, access: READ | EXECUTE | PRIVILEGED })).toBe('UR F_BAD_ATS_TREQ')
    // R 95, W 94, X 93, P 92; a Span of one unit at 67:64; the address without its low 12 bits.
    expect(bench.events()).toEqual([
      [0x0000000300000005n, 0x00000000c0000001n, 0x0000007654321000n, 0n],
      [0x0000000312345805n, 0x00000000b0000001n, 0x0000007654321000n, 0n],
    ])
  })

  /** Each broken configuration, with the record that CR2.REC_CFG_ATS makes of it. */
  const broken: [
    name: string,
    break_: (bench: AtsBench) => void,
    ask: { sid?: number; pasid?: number },
    dw: bigint[],
  ][] = [
    ['C_BAD_STREAMID', () => undefined, { sid: 64 }, [0x0000004000000002n, 0n, 0n, 0n]],
    ['C_BAD_STE', (bench) => bench.ste(SID, { V: 0 }), {}, [0x0000000300000004n, 0n, 0n, 0n]],
    ['C_BAD_SUBSTREAMID', () => undefined, { pasid: 9 }, [0x0000000300009008n, 0n, 0n, 0n]],
    ['F_STREAM_DISABLED', (bench) => bench.stageOne({ S1CDMax: 2 }), {}, [0x0000000300000006n, 0n, 0n, 0n]],
    ['C_BAD_CD', (bench) => bench.cd(bench.cdTable, { V: 0 }), {}, [0x000000030000000an, 0n, 0n, 0n]],
    [
      'F_CD_FETCH',
      (bench) => bench.stageOne({ S1ContextPtr: 2 ** 40 }),
      {},
      [0x0000000300000009n, 0n, 0n, 0x10000000000n],
    ],
    [
      'F_WALK_EABT',
      (bench) => bench.cd(bench.cdTable, contextFields(7, 2 ** 40)),
      {},
      // RnW, and CLASS TT.
      [0x000000030000000bn, 0x0000010800000000n, 0x0000007654321000n, 0x10000000000n],
    ],
  ]
  it.each(broken)('is CA for %s, and recorded only as REC_CFG_ATS wants', (name, breaks, ask, dw) => {
    const silent = new AtsBench().stageOne()
    breaks(silent)
    expect(silent.request(VA, ask)).toBe('CA')
    expect(silent.events()).toEqual([])
    const recorded = new AtsBench().switch(0, 0b1010).stageOne()
    breaks(recorded)
    expect(recorded.request(VA, ask)).toBe(`CA ${name}`)
    expect(recorded.events()).toEqual([dw])
  })

  it('is CA for an STE that cannot be read', () => {
    const bench = new AtsBench().switch(0, 0b1010)
    bench.write(OFFSET.CR0, 0b1100)
    bench.write64(OFFSET.STRTAB_BASE, 2 ** 40)
    bench.write(OFFSET.CR0, 0b1101)
    expect(bench.request(VA)).toBe('CA F_STE_FETCH')
    expect(bench.events()).toEqual([[0x0000000300000003n, 0n, 0n, 0x100000000c0n]])
  })

  it('records an unknown stream only if RECINVSID wants that too', () => {
    const bench = new AtsBench().switch(0, 0b1000)
    expect(bench.request(VA, { sid: 64 })).toBe('CA')
    expect(bench.events()).toEqual([])
  })

  it('records C_BAD_SUBSTREAMID of an L1CD that leads nowhere with the SSID that was looked up', () => {
    const bench = new AtsBench().switch(0, 0b1010).stageOne({ S1Fmt: 1, S1CDMax: 8, S1DSS: 2 })
    expect(bench.request(VA, { pasid: 70 })).toBe('CA C_BAD_SUBSTREAMID')
    expect(bench.events()).toEqual([[0x0000000300046008n, 0n, 0n, 0n]])
  })

  it('is CA where stage 2 cannot be read for a CD, a table or the output', () => {
    for (const at of ['cd', 'table', 'output'] as const) {
      const bench = new AtsBench().switch(0, 0b1010).nested()
      // A table of stage 2 that stands nowhere, for the 512 GiB around the address.
      const cdAt = BigInt(GUEST) + 2n ** 40n
      if (at === 'cd') bench.ste(SID, { ...steOf(bench), S1ContextPtr: Number(cdAt) })
      if (at === 'table') bench.cd(bench.cdTable, contextFields(7, Number(cdAt)))
      if (at === 'output') bench.map(bench.s1, VA, cdAt | S1.RW, 3, GUEST)
      bench.poke(bench.s2 + Number((cdAt >> 39n) & 511n) * 8, (2n ** 44n) | S2.TABLE)
      expect(bench.request(VA), at).toBe('CA F_WALK_EABT')
      const [[, dw1]] = bench.events()
      expect(dw1 >> 39n, at).toBe({ cd: 0b001n, table: 0b011n, output: 0b101n }[at])
    }
  })

  const unmapped: [name: string, of: (bench: AtsBench) => unknown][] = [
    ['stage 1 F_TRANSLATION', (bench) => bench.stageOne({}, 0n)],
    ['stage 1 F_ACCESS', (bench) => bench.stageOne({}, S1.RW & ~(1n << 10n))],
    ['stage 1 F_ADDR_SIZE', (bench) => bench.stageOne({}, S1.RW, { IPS: 0 }).map(bench.s1, VA, (2n ** 33n) | S1.RW)],
    ['a half that is off', (bench) => bench.stageOne({}, S1.RW, { EPD0: 1 })],
    ['stage 2 F_TRANSLATION', (bench) => bench.nested({}, S1.RW, 0n)],
    ['stage 2 F_ACCESS', (bench) => bench.nested({}, S1.RW, S2.RW & ~(1n << 10n))],
    ['stage 2 F_PERMISSION of a CD', (bench) => denyTable(bench.nested(), bench.cdTable)],
    ['stage 2 F_PERMISSION of a table', (bench) => denyTable(bench.nested(), bench.s1)],
    ['rights of stage 1 for others alone', (bench) => bench.stageOne({}, S1.RW & ~(1n << 6n))],
    ['reading at one stage and writing at the other', (bench) => bench.nested({}, S1.RO, S2.WO)],
  ]
  it.each(unmapped)(
    'is Success without any permission for %s, in the smallest unit, and never recorded',
    (_name, of) => {
      const bench = new AtsBench().switch(0, 0b1010)
      of(bench)
      expect(bench.request(VA, { access: READ | WRITE })).toBe('nothing/12')
      expect(bench.events()).toEqual([])
    },
  )

  it('does not ask stage 2 where stage 1 grants nothing', () => {
    const bench = new AtsBench().switch(0, 0b1010).nested()
    // Stage 2 of the output is broken, which would be CA.
    const output = BigInt(GUEST) + 2n ** 40n
    bench.poke(bench.s2 + Number((output >> 39n) & 511n) * 8, (2n ** 44n) | S2.TABLE)
    bench.map(bench.s1, VA, output | S1.RW, 3, GUEST)
    expect(bench.request(VA)).toBe('CA F_WALK_EABT')
    bench.map(bench.s1, VA, output | (S1.RW & ~(1n << 6n)), 3, GUEST)
    expect(bench.request(VA)).toBe('nothing/12')
  })

  it('counts in the smallest granule that the unit has', () => {
    const bench = new AtsBench({ id: { IDR5: (PRESETS.full.IDR5 & ~0xf0) | 0x40 } }).stageOne({ S1CDMax: 1, S1DSS: 1 })
    expect(bench.request(0x1234_5678n)).toBe('rw- 12345678/16')
    expect(bench.request(2n ** 52n)).toBe('nothing/16')
  })

  it('never stalls and never reads as zero', () => {
    const bench = new AtsBench().stageOne({}, 0n, { A: 0, R: 1 })
    expect(bench.dma(SID, VA)).toBe('raz/wi F_TRANSLATION')
    expect(bench.request(VA)).toBe('nothing/12')
    expect(bench.events().length).toBe(1)
    const stalling = new AtsBench().stageOne({}, 0n, { S: 1 })
    expect(stalling.dma(SID, VA)).toBe('pending 1')
    expect(stalling.request(VA)).toBe('nothing/12')
    expect(stalling.events().length).toBe(1)
  })
})

/** The STE of the stream, read back. */
function steOf(bench: AtsBench): Parameters<AtsBench['ste']>[1] {
  const [dw2, dw3] = [16, 24].map((at) => bench.peek(bench.streamTable + SID * 64 + at))
  return {
    V: 1,
    Config: CONFIG.NESTED,
    EATS: 1,
    S1ContextPtr: GUEST + bench.cdTable,
    S2VMID: Number(dw2 & 0xffffn),
    S2T0SZ: 16,
    S2SL0: 2,
    S2PS: 5,
    S2AA64: 1,
    S2PTW: 1,
    S2R: 1,
    S2TTB: Number(dw3),
  }
}

/** Stage 2 maps the page that holds a structure, and does not let anybody read it. */
function denyTable(bench: AtsBench, at: number): void {
  bench.map(bench.s2, BigInt(GUEST + at), BigInt(at) | S2.WO)
}

describe('ID registers of ATS', () => {
  it.each([
    ['PRI', 1 << 16],
    ['ATSRECERR', 1 << 23],
  ])('IDR0.%s goes with IDR0.ATS', (_field, bit) => {
    expect(() => idRegisters('default', { IDR0: PRESETS.default.IDR0 | bit })).toThrow(RangeError)
  })

  it('CR2.REC_CFG_ATS is there with IDR0.ATSRECERR alone', () => {
    const written = (id: number): number => new AtsBench({ id: { IDR0: id } }).switch(0, 0b1010).read(OFFSET.CR2)
    expect(written(PRESETS.full.IDR0)).toBe(0b1010)
    expect(written(PRESETS.full.IDR0 & ~(1 << 23))).toBe(0b0010)
  })
})
