/** `iommuctl transcript verify` with recordings that are cut, odd, or say little of their machine. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { run } from '../../clients/cli/program.js'

const FOLDER = mkdtempSync(join(tmpdir(), 'iommud-transcript-'))
afterAll(() => rmSync(FOLDER, { recursive: true, force: true }))

type Row = Record<string, unknown>

const rowsOf = (name: string): Row[] => {
  const file = join(import.meta.dirname, `../fixtures/transcripts/${name}.jsonl.gz`)
  return gunzipSync(readFileSync(file))
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Row)
}
const VTD = rowsOf('iommufd-transcript-1')
const ARM = rowsOf('iommufd-transcript-1-arm')

/** A recording with its first calls, and others. */
const recording = (rows: readonly Row[], calls: number, ...more: readonly Row[]): Row[] => {
  const all = [...rows.slice(1, calls + 1), ...more].map((row, n) => ({ ...row, n }))
  return [rows[0], ...all, { end: true, calls: all.length }]
}

const textOf = (rows: readonly Row[], end = '\n'): string => rows.map((row) => JSON.stringify(row) + end).join('')

let count = 0

/** Runs the command; answers its status and its last line. */
async function verify(content: string | Uint8Array): Promise<{ status: number; counts: unknown; said: string }> {
  const file = join(FOLDER, `${++count}.jsonl`)
  writeFileSync(file, content)
  const out: string[] = []
  const err: string[] = []
  const io = { out: (text: string) => out.push(text), err: (text: string) => err.push(text) }
  const status = await run(['transcript', 'verify', file, '--json'], io as never)
  const last = out.at(-1)
  return { status, counts: last === undefined ? undefined : JSON.parse(last), said: [...out, ...err].join('\n') }
}

const matched = (calls: number) => ({ calls, matched: calls, excused: 0, mismatched: 0 })

describe('a recording', () => {
  it.each([
    ['plain', textOf(recording(VTD, 40)), 40],
    ['gzipped', gzipSync(textOf(recording(VTD, 40))), 40],
    ['with carriage returns and empty lines', textOf(recording(VTD, 40), '\r\n\r\n'), 40],
    ['of no call at all', textOf(recording(VTD, 0)), 0],
    ['that never asks what the SMMUv3 is', textOf(recording(ARM, 12)), 12],
  ])('%s is verified', async (_, content, calls) => {
    expect(await verify(content)).toMatchObject({ status: 0, counts: matched(calls) })
  })

  it('that never asks what its unit is has the one that its first line tells', async () => {
    const rows = [{ ...VTD[0], iommu: 'intel-iommu,intremap=on,scalable-mode=on,fsts=on,aw-bits=48' }, ...VTD.slice(1)]
    // What follows shows the aperture: half of what the second stage has.
    const ranges = { call: 'IOAS_IOVA_RANGES', fd: 100, nr: '0x3b84', ret: 0, errno: 0 }
    const asked = '2000000001000000080000000000000000000020000000000000000000000000'
    const answered = '2000000001000000020000000000000000000020000000000010000000000000'
    const memory = { mem: '0x20000000', mem_in: '00'.repeat(32) }
    // A domain was made and a device attached to it, whose window is closed.
    const after = `${'0000000000000000'}${'ffffdffe00000000'}${'0000f0fe00000000'}${'ffffffffff7f0000'}`
    const line = {
      ...ranges,
      in: asked,
      out: answered,
      ...memory,
      mem_out: after,
    }
    expect(await verify(textOf(recording(rows, 11, line)))).toMatchObject({ status: 0, counts: matched(12) })
    const second = textOf(recording(VTD, 11, line))
    expect(await verify(second)).toMatchObject({ status: 1, counts: { calls: 12, matched: 11, mismatched: 1 } })
  })

  it('whose unit offers what the emulated one does not is told with the registers that it recorded', async () => {
    // ECAP.PDS without DT, which the manual forbids.
    const info = '010000000000000006062f228c00d2804a0ff080984900'.padEnd(48, '0')
    const told = `${info.slice(0, 42)}04${info.slice(44)}`
    const line = { call: 'GET_HW_INFO', fd: 100, nr: '0x3b8a', ret: 0, errno: 0, mem: '0x20000000' }
    const asked = '28000000000000000400000018000000000000200000000000000000000000000000000000000000'
    const answered = '28000000000000000400000018000000000000200000000001000000000000000800000000000000'
    const whole = { ...line, in: asked, out: answered, mem_in: '00'.repeat(24), mem_out: told }
    expect(await verify(textOf(recording(VTD, 7, whole)))).toMatchObject({ status: 0, counts: matched(8) })
  })

  it('with files that are no device’s, and calls that nobody knows, counts what differs and goes on', async () => {
    const file = (call: string, fd: number, errno: number): Row => ({ call, fd, ret: errno === 0 ? 0 : -1, errno })
    const unknown = { call: 'NEWER', fd: 100, nr: '0x3b9e', in: '0c00000000000000', ret: -1, errno: 25 }
    const test = { call: 'TEST_DIRTY', fd: 100, nr: '0x3ba0', in: '48000000'.padEnd(144, '0'), ret: -1, errno: 25 }
    const rows = [
      file('close', 101, 0),
      file('close', 101, 9),
      file('open', 101, 0),
      file('open', 105, 0),
      file('close', 105, 0),
      file('open', 103, 0),
      file('close', 9, 0),
      unknown,
      test,
    ]
    const { status, counts } = await verify(textOf(recording(VTD, 20, ...rows)))
    expect({ status, counts }).toEqual({ status: 1, counts: { calls: 29, matched: 27, excused: 0, mismatched: 2 } })
  })
})

describe('a file that is no recording', () => {
  const rows = recording(VTD, 20)
  it.each([
    ['empty', ''],
    ['cut off between two lines', textOf(rows.slice(0, 10))],
    ['cut off within a line', textOf(rows).slice(0, 2000)],
    ['cut off within gzip', gzipSync(textOf(rows)).subarray(0, 300)],
    ['without its first line', textOf(rows.slice(1))],
    ['of numbers', '1\n2\n'],
    ['with bytes that are not hex', textOf(recording(VTD, 3, { ...VTD[5], in: 'zz' }))],
    ['with a call without a descriptor', textOf(recording(VTD, 3, { call: 'DESTROY', errno: 0 }))],
  ])('%s is refused', async (_, content) => {
    const { status, counts, said } = await verify(content)
    expect([status, counts]).toEqual([2, undefined])
    expect(said).toMatch(/\.jsonl/)
  })
})
