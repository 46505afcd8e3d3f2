/** `capture verify`: what it prints, its exit status, and that it closes what it opened. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runIn } from './fake.js'

const REGISTERS = ['IDR0', 'IDR1', 'IDR5', 'CR0', 'CR1', 'CR2', 'STRTAB_BASE', 'STRTAB_BASE_CFG']
const QUEUE = ['EVENTQ_BASE', 'EVENTQ_PROD', 'EVENTQ_CONS']

let folder = ''

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'iommuctl-capture-'))
  const registers = Object.fromEntries([...REGISTERS, ...QUEUE].map((name) => [name, '0x0']))
  const description = {
    name: 'tiny',
    kernel: 'Linux guest 7.2 aarch64',
    registers,
    ram: [{ base: '0x40000000', size: '0x1000' }],
  }
  const rows = [
    { sid: 8, pasid: null, iova: '0x1000', access: 'r', pa: '0x40000000' },
    { sid: 8, pasid: null, iova: '0x2000', access: 'w', fault: 'F_TRANSLATION' },
  ]
  writeFileSync(join(folder, 'capture.json'), JSON.stringify(description))
  writeFileSync(join(folder, 'memory.index.json'), '[]')
  writeFileSync(join(folder, 'memory.bin.gz'), gzipSync(''))
  writeFileSync(join(folder, 'translations.jsonl.gz'), gzipSync(rows.map((row) => JSON.stringify(row)).join('\n')))
})

afterAll(() => rmSync(folder, { recursive: true }))

/** A daemon whose raw unit answers the two rows with these addresses; the second faults as it ought to. */
const daemon = (first: bigint) => ({
  OpenContext: { context: 'opened here' },
  CreateMemoryRegion: { regionId: 1 },
  CreateUnit: { unitId: 2 },
  ReadUnitRegisters: { values: [0n], doneCount: 1 },
  TranslateUnit: {
    outcomes: [1, 2],
    addresses: [first, 0n],
    faultCodes: [0, 0x10],
    faults: [{ index: 1, name: 'F_TRANSLATION' }],
    doneCount: 2,
  },
  ExplainUnit: {
    explanation: { steps: [{ structure: 'STE', address: 0x40000200n, words: [1n], verdict: 'goes on' }] },
  },
})

const verify = (replies: Readonly<Record<string, object>>, ...words: string[]) =>
  runIn({ replies }, 'capture', 'verify', folder, '--socket', '/fake', ...words)

describe('capture verify', () => {
  it('prints one line of JSON and nothing else when all rows match', async () => {
    const { exit, out, err } = await verify(daemon(0x40000000n), '--json')
    expect({ exit, err }).toEqual({ exit: 0, err: [] })
    const userDomain = { matched: 0, mismatched: 0, skipped: 0 }
    expect(out.map((line) => JSON.parse(line))).toEqual([
      { translations: 2, matched: 2, mismatched: 0, skipped: 0, userDomain },
    ])
  })

  it('lists each mismatch with its walk before the result, and exits with 1', async () => {
    const { exit, out } = await verify(daemon(0x40000abcn))
    expect(exit).toBe(1)
    expect(out.slice(0, 2)).toEqual([
      'mismatch (raw unit): stream 8 read 0x1000 -> 0x40000000, answered 0x40000abc',
      '    STE at 0x40000200: 0000000000000001 -> goes on',
    ])
    expect(out.slice(2)).toEqual([
      'tiny: smmuv3, Linux 7.2, 2 lookups',
      '  through      matched  mismatched  skipped',
      '  raw unit           1           1        0',
      '  user domain        0           0        0',
    ])
  })

  it('has the result as the last line with --json too', async () => {
    const { exit, out } = await verify(daemon(0n), '--json')
    expect(exit).toBe(1)
    const lines = out.map((line) => JSON.parse(line))
    expect(lines[0].mismatch).toMatchObject({ through: 'raw unit', answered: '0x0', walk: [expect.any(String)] })
    expect(lines.at(-1)).toMatchObject({ translations: 2, matched: 1, mismatched: 1 })
  })

  it('works in an explicit context of its own and closes it, also when a call fails', async () => {
    for (const answers of [daemon(0n), { OpenContext: { context: 'opened here' }, CreateUnit: { unitId: 2 } }]) {
      const { sent, closed } = await verify(answers)
      expect(sent[0]).toMatchObject({ method: 'OpenContext', request: { lifetime: 3 } })
      expect(sent.at(-1)).toMatchObject({ method: 'CloseContext', request: { context: 'opened here' } })
      expect(closed).toBe(1)
    }
  })

  it('closes its context when it is interrupted', async () => {
    const onCall = (method: string): void => {
      if (method === 'TranslateUnit') process.emit('SIGINT')
    }
    const world = { replies: daemon(0n), silentOn: ['TranslateUnit'], onCall }
    const { exit, out, sent, closed } = await runIn(world, 'capture', 'verify', folder, '--socket', '/fake')
    expect({ exit, out, closed, last: sent.at(-1)?.method }).toEqual({
      exit: 130,
      out: [],
      closed: 1,
      last: 'CloseContext',
    })
  })

  it('exits with 2 when the folder cannot be read, before any daemon is asked', async () => {
    const { exit, out, err, sent } = await runIn({}, 'capture', 'verify', `${folder}/none`)
    expect({ exit, out, sent }).toEqual({ exit: 2, out: [], sent: [] })
    expect(err[0]).toContain('capture.json')
  })
})
