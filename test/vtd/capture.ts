/** Loads the memory and the registers of a captured guest into a unit. */

import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { CHUNK_BYTES, Memory, SparseBacking } from '../../hw-model/memory/index.js'
import type { UnitOwner } from '../../hw-model/port.js'
import { type PresetName, presetOptions, REGISTER, VtdUnit } from '../../hw-model/vtd/index.js'

/** One lookup of a capture. */
export interface CaptureRow {
  readonly sid: number
  readonly pasid: number | null
  readonly iova: string
  readonly access: 'r' | 'w'
  readonly pa?: string
  readonly fault?: string
  readonly spec_fault?: string
}

interface CaptureFile {
  readonly registers: Readonly<Record<string, string>>
  readonly ram: readonly { readonly base: string; readonly size: string }[]
}

const SILENT: UnitOwner = { message: () => {}, interrupt: () => {} }

/** The rows of `translations.jsonl.gz`. */
export function readRows(folder: URL): readonly CaptureRow[] {
  const lines = gunzipSync(readFileSync(new URL('translations.jsonl.gz', folder)))
    .toString('utf8')
    .trim()
    .split('\n')
  return lines.map((line) => JSON.parse(line) as CaptureRow)
}

/** A unit with the captured guest's memory, programmed as its driver left it. */
export function loadCapture(folder: URL, preset: PresetName): { unit: VtdUnit; memory: Memory } {
  const capture = JSON.parse(readFileSync(new URL('capture.json', folder), 'utf8')) as CaptureFile
  const memory = new Memory()
  for (const { base, size } of capture.ram) {
    memory.place(Number(base), new SparseBacking(Math.ceil(Number(size) / CHUNK_BYTES) * CHUNK_BYTES))
  }
  const index = JSON.parse(readFileSync(new URL('memory.index.json', folder), 'utf8')) as {
    readonly pa: string | number
    readonly offset: number
    readonly length: number
  }[]
  const bytes = gunzipSync(readFileSync(new URL('memory.bin.gz', folder)))
  for (const { pa, offset, length } of index) memory.writeBytes(Number(pa), bytes.subarray(offset, offset + length))
  const { registers } = capture
  const unit = new VtdUnit(
    memory,
    SILENT,
    presetOptions(preset, {
      VER: Number(registers['VER']),
      CAP: halves(registers['CAP']),
      ECAP: halves(registers['ECAP']),
    }),
  )
  unit.writeRegister(REGISTER.RTADDR, 8, ...halves(registers['RTADDR']))
  unit.writeRegister(REGISTER.GCMD, 4, SRTP, 0)
  unit.writeRegister(REGISTER.GCMD, 4, TE, 0)
  return { unit, memory }
}

const SRTP = 1 << 30
const TE = 1 << 31

/** A 64-bit hex string as two halves. */
export function halves(hex: string): readonly [lo: number, hi: number] {
  const value = BigInt(hex)
  return [Number(value & 0xffffffffn), Number(value >> 32n)]
}
