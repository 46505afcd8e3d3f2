/**
 * Reads a transcript: what a real kernel's /dev/iommu and VFIO device files answered to a program, call by call.
 * The format is described in `test/fixtures/transcripts/README.md`.
 */

import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'

/** What stood behind the kernel. */
export type UnitKind = 'vtd' | 'smmuv3' | 'mock'

/** One recorded call, or the opening or closing of a device file. */
export interface RecordedCall {
  readonly n: number
  /** The call's name: `IOAS_MAP`, `open` … */
  readonly call: string
  /** Descriptor that it was made on. */
  readonly fd: number
  /** The command, all 32 bits; 0 for `open` and `close`. */
  readonly command: number
  /** The struct before the call. */
  readonly input: Uint8Array
  /** The struct after the call. */
  readonly output: Uint8Array
  readonly result: bigint
  readonly errno: number
  /** The array or data that the struct points to. */
  readonly memory?: RecordedMemory
}

/** Memory beside a struct, before and after its call. */
export interface RecordedMemory {
  readonly address: bigint
  readonly before: Uint8Array
  readonly after: Uint8Array
}

/** A whole recording. */
export interface Recording {
  readonly file: string
  readonly unit: UnitKind
  readonly seed: number
  /** Such as `Linux version 7.2.13 (…)`, with what was changed in it. */
  readonly kernel: string
  /** The unit and its options as the recorder spelled them. */
  readonly iommu: string
  readonly calls: readonly RecordedCall[]
}

/** A recording that cannot be read; the message says which line and why. */
export class RecordingError extends Error {}

/** Reads a recording, gzipped or not. @throws RecordingError */
export function loadRecording(file: string): Recording {
  const lines = textOf(file)
    .split('\n')
    .map((text, i) => ({ text, number: i + 1 }))
    .filter(({ text }) => text.trim() !== '')
  const rows = lines.map(({ text, number }) => parse(text, `${file}, line ${number}`))
  const [head, last] = [rows[0], rows.at(-1)]
  if (head === undefined || typeof head['kind'] !== 'string') {
    throw new RecordingError(`${file}: the first line does not say what kind of recording it is`)
  }
  if (rows.length < 2 || last?.['end'] !== true || last['calls'] !== rows.length - 2) {
    throw new RecordingError(`${file}: the last line does not count the calls: the recording is cut off`)
  }
  const calls = rows.slice(1, -1).map((row, i) => callOf(row, `${file}, line ${lines[i + 1].number}`))
  const text = (key: string): string => String(head[key] ?? '')
  return {
    file,
    unit: unitOf(head['kind'], text('iommu')),
    seed: Number(head['seed'] ?? 0),
    kernel: text('kernel'),
    iommu: text('iommu'),
    calls,
  }
}

type Row = Readonly<Record<string, unknown>>

function textOf(file: string): string {
  try {
    const bytes = readFileSync(file)
    const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b
    return (isGzip ? gunzipSync(bytes) : bytes).toString('utf8')
  } catch (error) {
    throw new RecordingError(`${file} cannot be read: ${(error as Error).message}`)
  }
}

function parse(text: string, where: string): Row {
  try {
    const row: unknown = JSON.parse(text)
    if (typeof row === 'object' && row !== null) return row as Row
  } catch (error) {
    throw new RecordingError(`${where}: ${(error as Error).message}`)
  }
  throw new RecordingError(`${where}: no object`)
}

function unitOf(kind: string, iommu: string): UnitKind {
  if (kind === 'mock') return 'mock'
  return kind === 'arm' || /smmu/i.test(iommu) ? 'smmuv3' : 'vtd'
}

function callOf(row: Row, where: string): RecordedCall {
  const number = (key: string): number => {
    const value = row[key]
    if (typeof value !== 'number') throw new RecordingError(`${where}: ${key} is no number`)
    return value
  }
  const word = (key: string): bigint => {
    try {
      return BigInt((row[key] as string | number | undefined) ?? 0)
    } catch {
      throw new RecordingError(`${where}: ${key} is no number`)
    }
  }
  const bytes = (key: string): Uint8Array | undefined => {
    const value = row[key]
    if (value === undefined) return undefined
    if (typeof value === 'string' && /^([0-9a-f]{2})*$/i.test(value)) return new Uint8Array(Buffer.from(value, 'hex'))
    throw new RecordingError(`${where}: ${key} is not hex`)
  }
  if (typeof row['call'] !== 'string') throw new RecordingError(`${where}: it names no call`)
  const input = bytes('in') ?? new Uint8Array()
  const before = bytes('mem_in')
  return {
    n: number('n'),
    call: row['call'],
    fd: number('fd'),
    // Sign-extended in some recordings.
    command: Number(word('nr') & 0xffff_ffffn),
    input,
    output: bytes('out') ?? input,
    result: word('ret'),
    errno: number('errno'),
    ...(before === undefined ? {} : { memory: { address: word('mem'), before, after: bytes('mem_out') ?? before } }),
  }
}
