/** `transcript verify`: what it prints, its exit status, and units that no recording of the checkout has. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runIn } from './fake.js'
import { attach, BOUND, type HandLine, hwptAlloc, iovaRanges, recording, viommuAlloc, vtdInfo } from './hand-made.js'

const ENOENT = 2
const EINVAL = 22
const EOPNOTSUPP = 95
const MSI = [0xfee00000n, 0xfeefffffn] as const
const PAGE = 4096n

let folder = ''

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'iommuctl-transcript-test-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const VFIO = { kind: 'vfio', iommu: 'intel-iommu', devices: { 101: 'edu', 102: 'e1000e' } }

function written(text: string | Uint8Array, name = 'a.jsonl'): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const verify = (path: string, ...words: string[]) => runIn({}, 'transcript', 'verify', path, ...words)

/** Plays hand-made lines; answers mismatches, or nothing. */
async function mismatches(lines: readonly HandLine[], head: HandLine = VFIO): Promise<readonly string[]> {
  const { exit, out } = await verify(written(recording(head, lines)))
  const found = out.filter((line) => line.startsWith('mismatch'))
  expect(JSON.parse(out.at(-1)!)).toEqual({
    calls: lines.length,
    matched: lines.length - found.length,
    excused: 0,
    mismatched: found.length,
  })
  expect(exit).toBe(found.length === 0 ? 0 : 1)
  return found
}

/** Registers of QEMU's units, as its guests read them. */
const LEGACY = vtdInfo(0x80d2008c222f0606n, 0xf00f4an)
const FIRST_STAGE = vtdInfo(0x81d2008c222f0606n, 0x880000000f42n)
const LEGACY_39_BITS = vtdInfo(0x80d2008c22260206n, 0xf00f4an)

/** IOVAs of IOAS 1 with the first device attached, of a unit with so many bits. */
const attachedRanges = (bits: bigint): HandLine => iovaRanges(PAGE, [0n, MSI[0] - 1n], [MSI[1] + 1n, 2n ** bits - 1n])

describe('a VT-d unit in legacy mode', () => {
  it('has a second stage of 48 bits, no nesting and no dirty tracking, and attaches PASIDs that no device has', {
    timeout: 30_000,
  }, async () => {
    const lines = [
      ...BOUND,
      LEGACY,
      hwptAlloc(1, 1, { errno: EOPNOTSUPP }),
      hwptAlloc(2, 1, { errno: EOPNOTSUPP }),
      hwptAlloc(0, 1, { id: 3 }),
      hwptAlloc(8, 1, { id: 4 }),
      viommuAlloc(EOPNOTSUPP),
      attach(4, { id: 4 }),
      attach(4, { id: 4 }, 5),
      attach(3, { errno: EINVAL }, 6),
      attachedRanges(48n),
      // The IOAS's own domain is not for PASIDs; and what fails here takes the reserved ranges away, as in the kernel.
      attach(1, { errno: EINVAL }),
      iovaRanges(PAGE, [0n, 2n ** 48n - 1n]),
    ]
    expect(await mismatches(lines)).toEqual([])
  })

  it('of 39 bits ends there', { timeout: 30_000 }, async () => {
    const lines = [...BOUND, LEGACY_39_BITS, attach(1, { id: 3 }), attachedRanges(39n)]
    expect(await mismatches(lines)).toEqual([])
  })
})

describe('a VT-d unit with a first stage alone', () => {
  it('has the lower half of 48 bits, and neither nesting parents nor dirty tracking', { timeout: 30_000 }, async () => {
    const lines = [
      ...BOUND,
      FIRST_STAGE,
      hwptAlloc(1, 1, { errno: EOPNOTSUPP }),
      hwptAlloc(2, 1, { errno: EOPNOTSUPP }),
      hwptAlloc(8, 1, { id: 3 }),
      attach(3, { id: 3 }),
      attachedRanges(47n),
    ]
    expect(await mismatches(lines)).toEqual([])
  })
})

describe('transcript verify', () => {
  const right = [...BOUND, LEGACY]
  const wrong = [...right, attach(99, { errno: EINVAL })]

  it('lists each mismatch, with what was answered and why, and exits with 1', { timeout: 30_000 }, async () => {
    const found = await mismatches(wrong)
    expect(found).toEqual([
      'mismatch: call 5, VFIO_DEVICE_ATTACH_IOMMUFD_PT on 101 0c000000000000006300000000000000: ' +
        "errno 2 (pt_id: id 99 is not in use), the kernel's 22",
    ])
  })

  it('prints the object alone with --json, and mismatches to standard error', { timeout: 30_000 }, async () => {
    const { exit, out, err } = await verify(written(gzipSync(recording(VFIO, wrong)), 'a.jsonl.gz'), '--json')
    expect(exit).toBe(1)
    expect(out).toEqual(['{"calls":6,"matched":5,"excused":0,"mismatched":1}'])
    expect(err[0]).toContain('mismatch: call 5')
  })

  it('tells what the recording is, and needs no daemon', { timeout: 30_000 }, async () => {
    const path = written(recording(VFIO, right))
    const { exit, out, connected } = await verify(path)
    expect({ exit, out, connected }).toEqual({
      exit: 0,
      out: [`${path}: vtd, Linux 7.2.13, seed 0`, '{"calls":5,"matched":5,"excused":0,"mismatched":0}'],
      connected: [],
    })
  })

  it('binds on a second /dev/iommu in a context of its own', { timeout: 30_000 }, async () => {
    const { call, file, words } = await import('./hand-made.js')
    const bind = (iommufd: number, end: object) =>
      call('VFIO_DEVICE_BIND_IOMMUFD', 102, 0x3b76, words(16, 0, iommufd, 0, 0, 0), end)
    const lines = [
      ...right,
      // Standard input is no iommufd; 5000 is not open.
      bind(0, { errno: 77 }),
      bind(5000, { errno: 9 }),
      bind(-1, { errno: EINVAL }),
      bind(103, { out: words(16, 0, 103, 1, 0, 0) }),
      bind(100, { errno: EINVAL }),
      // Id 1 there is the device, and IOAS 1 here is none of it.
      call('VFIO_DEVICE_ATTACH_IOMMUFD_PT', 102, 0x3b77, words(12, 0, 1, 0), { errno: EINVAL }),
      call('VFIO_DEVICE_ATTACH_IOMMUFD_PT', 102, 0x3b77, words(12, 0, 2, 0), { errno: ENOENT }),
      file('close', 102),
      file('open', 102),
      bind(100, { out: words(16, 0, 100, 3, 0, 0) }),
    ]
    expect(await mismatches(lines)).toEqual([])
  })

  const broken: readonly (readonly [string, string, RegExp])[] = [
    ['is cut off', recording(VFIO, right).split('\n').slice(0, -2).join('\n'), /cut off/],
    ['has no head', '{"n":0}\n{"end":true,"calls":0}\n', /what kind/],
    ['is no JSON', 'hello\n', /line 1/],
    ['has a call without a number', recording(VFIO, [{ call: 'close', fd: 'x', errno: 0, ret: 0 }]), /fd is no number/],
    ['has bytes that are no hex', recording(VFIO, [{ call: 'A', fd: 1, errno: 0, ret: 0, in: 'zz' }]), /in is not hex/],
  ]
  it.each(broken)('exits with 2 for a recording that %s', async (_what, text, message) => {
    const { exit, out, err } = await verify(written(text))
    expect({ exit, out }).toEqual({ exit: 2, out: [] })
    expect(err[0]).toMatch(message)
  })

  it('exits with 2 for a file that is not there, and when a daemon is named', async () => {
    expect((await verify(`${folder}/none`)).exit).toBe(2)
    const { exit, err } = await verify(written(recording(VFIO, right)), '--socket', '/some')
    expect([exit, err[0]]).toEqual([2, expect.stringContaining('private daemon')])
  })
})
