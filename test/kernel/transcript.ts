/** A recorded conversation with a real kernel's /dev/iommu, line by line. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

const FOLDER = join(import.meta.dirname, '../fixtures/transcripts')

/** What a recording says of itself. */
export interface Head {
  readonly seed: number
  readonly kind: 'vfio' | 'arm' | 'mock'
  readonly count: number
  readonly kernel: string
  readonly iommu: string
  readonly devices: Readonly<Record<string, string>> | string
}

/** One recorded call. Bytes are hex. */
export interface Line {
  readonly n: number
  readonly call: string
  readonly fd: number
  readonly nr?: string
  readonly in?: string
  readonly ret: number
  readonly errno: number
  /** The struct afterwards, if it changed. */
  readonly out?: string
  /** Address of the array or data that the struct points to, with its bytes before and after. */
  readonly mem?: string
  readonly mem_in?: string
  readonly mem_out?: string
}

/** A whole recording. */
export interface Transcript {
  readonly name: string
  readonly head: Head
  readonly lines: readonly Line[]
}

/** Reads a recording of the fixtures. */
export function readTranscript(name: string): Transcript {
  const text = gunzipSync(readFileSync(join(FOLDER, `${name}.jsonl.gz`))).toString('utf8')
  const [head, ...rest] = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Head & Line & { end?: boolean; calls?: number })
  const end = rest.pop()
  if (end?.end !== true || end.calls !== rest.length) throw new Error(`${name} is cut off`)
  return { name, head, lines: rest }
}

/** Bytes of a hex string. */
export const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'))

/** A hex string of bytes. */
export const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
