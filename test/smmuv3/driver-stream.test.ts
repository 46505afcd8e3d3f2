/** The recorded command stream of a Linux guest, and ours for the same operations. */

import { beforeAll, describe, expect, it } from 'vitest'
import { capture } from './captured-guest.js'
import { align, type Compared, compared, REASONS, writesOf } from './stream/compare.js'
import { ListenedHost } from './stream/listener.js'
import { type Operation, operationsOf } from './stream/operations.js'
import { pageOf } from './stream/page.js'
import { REGISTER, type Row, recordedRows, stepsOf } from './stream/recording.js'
import { replay } from './stream/replay.js'
import { rowLines } from './stream/spell.js'
import { stories } from './stream/stories.js'

const ID_REGISTERS = ['IDR0', 'IDR1', 'IDR2', 'IDR3', 'IDR4', 'IDR5', 'IIDR', 'AIDR'] as const
/** Base registers: where a queue or table is. The rest of their bits must be equal. */
const ADDRESS_BITS: Readonly<Record<number, bigint>> = {
  128: 0xf_ffff_ffff_ffc0n,
  144: 0xf_ffff_ffff_ffe0n,
  160: 0xf_ffff_ffff_ffe0n,
}

let rows: readonly Row[]
let operations: readonly Operation[]
let results: readonly Compared[]
let host: ListenedHost

beforeAll(() => {
  rows = recordedRows()
  const last = new Map(capture.streams.flatMap(({ sid, asid }) => (asid === undefined ? [] : [[sid, asid] as const])))
  operations = operationsOf(stepsOf(rows), last)
  host = new ListenedHost(Object.fromEntries(ID_REGISTERS.map((name) => [name, Number(capture.registers[name])])))
  results = compared(replay(host, operations))
})

const count = (kind: Operation['kind']): number => operations.filter((one) => one.kind === kind).length

describe('the recording', () => {
  it('is read to its last row, and every row belongs to an operation', () => {
    const commands = operations.flatMap(({ lists }) => lists.flatMap((list) => list.commands))
    expect([rows.length, commands.length]).toEqual([225802, 146914])
    const registers = rows.filter((row) => row.kind === 'register' && row.write.offset !== REGISTER.CMDQ_PROD)
    // CMDQ_PROD is set to 0 once, before there are commands.
    expect(operations.flatMap((one) => one.registers).length).toBe(registers.length + 1)
  })

  it('is a reset, 14 attaches, 4 detaches and 72,812 unmaps, of which 6 free a table', () => {
    expect([count('reset'), count('attach'), count('block'), count('unmap'), count('free-table')]).toEqual([
      1, 14, 4, 72806, 6,
    ])
  })

  it('gives each domain an ASID that is found in a CD at the end, or was dropped', () => {
    const asids = operations.flatMap((one) => (one.kind === 'attach' ? [one.asid] : []))
    expect(asids).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 11, 12])
  })
})

describe('our driver, doing the same', () => {
  it('writes the registers of the reset in the same order with the same values, but for addresses', () => {
    const [{ operation, rows: ours }] = results
    const plain = (write: { offset: number; bytes: number; value: bigint }): readonly [number, number, bigint] => [
      write.offset,
      write.bytes,
      write.value & ~(ADDRESS_BITS[write.offset] ?? 0n),
    ]
    const isProd = (row: Row): boolean =>
      row.kind === 'register' && row.write.offset === REGISTER.CMDQ_PROD && row.write.value === 0n
    const written = ours.flatMap((row) => (row.kind === 'register' && isProd(row) ? [row.write] : writesOf([row])))
    expect(written.map(plain)).toEqual(operation.registers.map(plain))
  })

  it('gives the same commands, and differs nowhere without a reason', () => {
    const differing = results.filter(({ reason }) => reason !== null)
    expect(differing.filter(({ reason }) => reason === 'unexplained')).toEqual([])
    expect(differing.length).toBeLessThan(150)
    const met = new Set(differing.map(({ reason }) => reason))
    expect(Object.keys(REASONS).filter((reason) => !met.has(reason as keyof typeof REASONS))).toEqual(['unexplained'])
  })

  it('leaves the STEs and CDs that Linux left, but for addresses', () => {
    const context = 0xf_ffff_ffff_ffc0n
    const without = (words: readonly bigint[], index: number, mask: bigint): readonly bigint[] =>
      words.map((word, i) => (i === index ? word & ~mask : word))
    const compared = capture.streams.filter(({ cd }) => cd !== undefined)
    expect(compared.length).toBe(10)
    for (const { sid, ste, cd = [] } of compared) {
      const ours = host.ste(sid)
      expect([sid, without(ours, 0, context)]).toEqual([sid, without(ste.map(BigInt), 0, context)])
      // Linux computes 32 bits of attributes as a signed number and stores it as 64.
      expect(BigInt(cd[3]) >> 32n).toBe(0xffff_ffffn)
      const theirs = without(cd.map(BigInt), 3, 0xffff_ffffn << 32n)
      expect([sid, without(host.cd(ours), 1, ~0n)]).toEqual([sid, without(theirs, 1, ~0n)])
    }
  })

  it('takes each event out of the queue with the same write', () => {
    for (const { operation, rows: ours } of results) {
      if (operation.kind === 'event') expect(writesOf(ours)).toEqual(operation.registers)
    }
  })

  it('tells the unit of each list of commands with one write', () => {
    for (const { operation, rows: ours } of results) {
      if (operation.kind !== 'unmap') continue
      const told = ours.filter((row) => row.kind === 'register' && row.write.offset === REGISTER.CMDQ_PROD)
      expect([operation.page, told.length]).toEqual([operation.page, operation.lists.length])
    }
  })
})

describe('two sequences side by side', () => {
  it('share as much as they can', () => {
    const command = (dw0: bigint) => ({ dw0, dw1: 0n })
    const pairs = align([1n, 2n, 3n].map(command), [2n, 4n, 3n].map(command))
    expect(pairs.map(({ theirs, ours }) => [theirs?.dw0, ours?.dw0])).toEqual([
      [1n, undefined],
      [2n, 2n],
      [undefined, 4n],
      [3n, 3n],
    ])
  })
})

describe('the reset of a unit that has everything', () => {
  it('is that of arm_smmu_device_reset: EL2, the PRI queue and ATS in their places', () => {
    const queue = (name: string, sizeLg2: string): readonly string[] => [
      `${name}_BASE = 0x40000000000000${sizeLg2}`,
      `${name}_PROD = 0x0`,
      `${name}_CONS = 0x0`,
    ]
    const synced = (command: string, prod: number): readonly string[] => [command, 'SYNC', `CMDQ_PROD = 0x${prod}`]
    expect(rowLines(new ListenedHost({}, 'full').taken())).toEqual([
      'CR0 = 0x0',
      'CR1 = 0xd75',
      'CR2 = 0x6',
      'STRTAB_BASE = 0x4000000000000000',
      'STRTAB_BASE_CFG = 0x10210',
      ...queue('CMDQ', '10'),
      'CR0 = 0x8',
      ...synced('CFGI_ALL', 2),
      ...synced('TLBI_EL2_ALL', 4),
      ...synced('TLBI_NSNH_ALL', 6),
      ...queue('EVENTQ', '0f'),
      'CR0 = 0xc',
      ...queue('PRIQ', '10'),
      'CR0 = 0xe',
      'CR0 = 0x1e',
      'IRQ_CTRL = 0x0',
      'GERROR_IRQ_CFG0 = 0x0',
      'EVENTQ_IRQ_CFG0 = 0x0',
      'PRIQ_IRQ_CFG0 = 0x0',
      'IRQ_CTRL = 0x7',
      'CR0 = 0x1f',
    ])
  })
})

describe('what Linux’s source gives for what was not recorded', () => {
  it('is what ours gives, or there is a reason', () => {
    for (const { title, linux, ours, why } of stories()) {
      expect([title, why === '' ? ours : linux]).toEqual([title, linux])
      if (why !== '') expect([title, ours.join() === linux.join()]).toEqual([title, false])
    }
  })
})

describe('docs/smmuv3-driver.md', () => {
  it('is what this says', async () => {
    await expect(pageOf(rows, results)).toMatchFileSnapshot('../../docs/smmuv3-driver.md')
  })
})
