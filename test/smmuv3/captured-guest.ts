/** Loads the captured arm64 guest: its look-ups, its registers, its memory. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import type { Memory } from '../../hw-model/memory/memory.js'

const FOLDER = join(import.meta.dirname, '../fixtures/captures/A')

/** One look-up of the capture. */
export interface Row {
  readonly sid: number
  readonly pasid: number | null
  readonly iova: string
  readonly access: 'r' | 'w'
  readonly pa?: string
  readonly fault?: string
  readonly spec_fault?: string
  readonly event?: readonly string[]
}

interface Capture {
  readonly registers: Readonly<Record<string, string>>
  readonly ram: readonly { readonly base: string; readonly size: string }[]
  readonly streams: readonly {
    readonly sid: number
    readonly ste: readonly string[]
    readonly cd?: readonly string[]
    readonly asid?: number
  }[]
}

const read = (name: string): Buffer => readFileSync(join(FOLDER, name))

/** The capture's description. */
export const capture = JSON.parse(read('capture.json').toString()) as Capture

/** Every look-up. */
export const rows: readonly Row[] = gunzipSync(read('translations.jsonl.gz'))
  .toString()
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Row)

/** A row's answer in the capture's words. */
export const expected = (row: Row): string => row.spec_fault ?? row.fault ?? (row.pa as string)

/** Writes the captured pages; `move` says where a guest's address is. Answers how many bytes did not fit. */
export function loadPages(memory: Memory, move: (address: number) => number): number {
  const bytes = gunzipSync(read('memory.bin.gz'))
  const index = JSON.parse(read('memory.index.json').toString()) as { pa: string; offset: number; length: number }[]
  return index.reduce((lost, { pa, offset, length }) => {
    const page = bytes.subarray(offset, offset + length)
    return lost + length - memory.writeBytes(move(Number(pa)), page)
  }, 0)
}
