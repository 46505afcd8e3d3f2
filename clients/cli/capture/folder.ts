/**
 * Reads a capture folder: the tables, registers and ground-truth translations of a real guest.
 * The format is described in `test/fixtures/captures/README.md`.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

/** A range of the guest's RAM. */
export interface RamRange {
  /** First guest-physical byte. */
  readonly base: bigint
  readonly lengthBytes: bigint
}

/** A captured piece of guest memory. */
export interface CapturedPages {
  /** Guest-physical address. */
  readonly address: bigint
  readonly bytes: Uint8Array
  /** What the extractor found there: `cd`, `s1-table`, `context` … */
  readonly kind: string
}

/** What the extractor decoded of one stream. */
export interface CapturedStream {
  /** StreamID or source-id. */
  readonly sid: number
  /** SMMUv3: STE.Config. */
  readonly config?: number
  /** SMMUv3: the STE's doublewords. */
  readonly ste?: readonly bigint[]
  /** VT-d: `ss`, `fs`, … */
  readonly kind?: string
  /** VT-d scalable mode: the PASID entry's quadwords. */
  readonly pasidEntry?: readonly bigint[]
}

/** One lookup with its truth. */
export interface CapturedRow {
  readonly sid: number
  /** The PASID on the request; null for none. */
  readonly pasid: number | null
  readonly iova: bigint
  readonly access: 'r' | 'w'
  /** Where it leads; absent when it faults. */
  readonly pa?: bigint
  /** What the manual says it ends as: an event's name, `0xNN`, or `ABORT`; absent when it translates. */
  readonly fault?: string
}

/** A whole capture. */
export interface Capture {
  readonly directory: string
  readonly name: string
  readonly type: 'smmuv3' | 'vtd'
  readonly kernel: string
  readonly registers: ReadonlyMap<string, bigint>
  readonly ram: readonly RamRange[]
  readonly pages: readonly CapturedPages[]
  readonly streams: readonly CapturedStream[]
  readonly rows: readonly CapturedRow[]
}

/** A capture that cannot be read; the message says which file and why. */
export class CaptureError extends Error {}

/** Loads a capture folder. @throws CaptureError */
export function loadCapture(directory: string): Capture {
  const description = parse(directory, 'capture.json', read(directory, 'capture.json')) as Description
  const registers = new Map(Object.entries(description.registers).map(([name, value]) => [name, BigInt(value)]))
  if (!registers.has('IDR0') && !registers.has('CAP')) {
    throw new CaptureError(`${directory}/capture.json: neither IDR0 nor CAP among the registers`)
  }
  return {
    directory,
    name: description.name ?? directory,
    type: registers.has('IDR0') ? 'smmuv3' : 'vtd',
    kernel: kernelName(description.kernel),
    registers,
    ram: description.ram.map(({ base, size }) => ({ base: BigInt(base), lengthBytes: BigInt(size) })),
    pages: loadPages(directory),
    streams: (description.streams ?? []).map(streamOf),
    rows: loadRows(directory),
  }
}

/** `uname -a` says more than anybody wants to read: the system and its version do. */
function kernelName(uname: string | undefined): string {
  const version = /\b\d+\.\d+(\.\d+)?/.exec(uname ?? '')?.[0]
  return version === undefined ? 'unknown kernel' : `Linux ${version}`
}

interface Description {
  readonly name?: string
  readonly kernel?: string
  readonly registers: Readonly<Record<string, string>>
  readonly ram: readonly { readonly base: string; readonly size: string }[]
  readonly streams?: readonly RawStream[]
}

interface RawStream {
  readonly sid: number
  readonly config?: number
  readonly ste?: readonly string[]
  readonly kind?: string
  readonly pasid_entry?: readonly string[]
}

interface RawRow {
  readonly sid: number
  readonly pasid: number | null
  readonly iova: string
  readonly access: 'r' | 'w'
  readonly pa?: string
  readonly fault?: string
  readonly spec_fault?: string
}

function streamOf(stream: RawStream): CapturedStream {
  return {
    sid: stream.sid,
    config: stream.config,
    ste: stream.ste?.map(BigInt),
    kind: stream.kind,
    pasidEntry: stream.pasid_entry?.map(BigInt),
  }
}

function loadPages(directory: string): CapturedPages[] {
  const index = parse(directory, 'memory.index.json', read(directory, 'memory.index.json')) as readonly {
    readonly pa: string
    readonly offset: number
    readonly length: number
    readonly kind: string
  }[]
  const memory = gunzipSync(read(directory, 'memory.bin.gz'))
  return index.map(({ pa, offset, length, kind }) => {
    if (offset + length > memory.length) throw new CaptureError(`${directory}/memory.index.json: ${pa} is past the end`)
    return { address: BigInt(pa), bytes: memory.subarray(offset, offset + length), kind }
  })
}

function loadRows(directory: string): CapturedRow[] {
  const text = gunzipSync(read(directory, 'translations.jsonl.gz')).toString('utf8')
  const lines = text.split('\n').filter((line) => line !== '')
  return lines.map((line, i) => {
    const row = parse(directory, `translations.jsonl.gz, line ${i + 1}`, line) as RawRow
    const fault = row.spec_fault ?? row.fault
    const end = fault === undefined ? { pa: BigInt(row.pa as string) } : { fault }
    return { sid: row.sid, pasid: row.pasid, iova: BigInt(row.iova), access: row.access, ...end }
  })
}

function read(directory: string, file: string): Buffer {
  try {
    return readFileSync(join(directory, file))
  } catch (error) {
    throw new CaptureError(`${join(directory, file)}: ${(error as Error).message}`)
  }
}

function parse(directory: string, what: string, text: string | Buffer): unknown {
  try {
    return JSON.parse(text.toString())
  } catch (error) {
    throw new CaptureError(`${directory}/${what}: ${(error as Error).message}`)
  }
}
