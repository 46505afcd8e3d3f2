/**
 * What real guests' devices and drivers did, in order, packed as the peers read it (`peers/trace.h`): the first 200,000
 * rows of two captures stand among the fixtures, and a folder with the whole of them can be named by IOMMUD_CAPTURES.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { CAPTURES } from './shape.js'

/** Words of a row: kind, who, lo, hi, address lo and hi, rights, leafLg2. Of a command: kind and its two quadwords. */
export const TRACE_ROW = 8

/** Kinds of rows. */
export const TRACED = { DMA: 0, COMMAND: 1 } as const

/** A guest's trace. */
export interface Trace {
  readonly rows: Int32Array
  readonly dmas: number
  readonly commands: number
  /** The sum of the low words of all recorded addresses: what a replay must come to. */
  readonly sum: number
}

type Guest = 'A' | 'F'

/** Where the traces are. */
export const tracesFolder = (): string => process.env['IOMMUD_CAPTURES'] ?? CAPTURES

/** Reads and packs a trace. */
export function readTrace(guest: Guest, folder: string): Trace {
  const bytes = gunzipSync(readFileSync(join(folder, guest, 'trace.jsonl.gz')))
  const asids = guest === 'A' ? asidsOf(folder) : null
  const leaves = new Leaves()
  const words: number[] = []
  let sum = 0
  let dmas = 0
  for (let from = 0; from < bytes.length; ) {
    const end = bytes.indexOf(10, from)
    const line = bytes.toString('latin1', from, end < 0 ? bytes.length : end)
    from = end < 0 ? bytes.length : end + 1
    if (line.startsWith('["T"')) {
      const [, sid, iova, address, rights, hit, level, , lg2] = JSON.parse(line)
      const [page, frame] = [BigInt(iova), BigInt(address)]
      const who = asids === null ? sid | (level << 16) : asids.get(sid)
      if (who === undefined) throw new Error(`capture ${guest} does not say which ASID stream ${sid} has`)
      // VT-d's rows have the domain-id where SMMUv3's have the level, and say the size always.
      const leafLg2 = lg2 ?? leaves.lg2Of(who, page, hit === 1 ? undefined : 12 + 9 * (3 - level))
      words.push(TRACED.DMA, who, ...halves(page), ...halves(frame), rights, leafLg2)
      sum = (sum + Number(frame & 0xffff_ffffn)) % 2 ** 32
      dmas++
    } else if (line.startsWith('["C"')) {
      const [, first, second] = JSON.parse(line)
      words.push(TRACED.COMMAND, ...halves(BigInt(first)), ...halves(BigInt(second)), 0, 0, 0)
    }
  }
  const rows = Int32Array.from(words)
  return { rows, dmas, commands: rows.length / TRACE_ROW - dmas, sum }
}

/** Sizes of leaves, where only the look-ups say them that QEMU's own cache missed. */
class Leaves {
  readonly #known = new Set<string>()

  lg2Of(asid: number, iova: bigint, said: number | undefined): number {
    const name = (lg2: number): string => `${asid} ${lg2} ${iova >> BigInt(lg2)}`
    if (said !== undefined) this.#known.add(name(said))
    return said ?? [12, 21, 30].find((lg2) => this.#known.has(name(lg2))) ?? 12
  }
}

function asidsOf(folder: string): ReadonlyMap<number, number> {
  const text = readFileSync(join(folder, 'A', 'capture.json'), 'utf8')
  const { streams } = JSON.parse(text) as { streams: { sid: number; asid: number }[] }
  return new Map(streams.map(({ sid, asid }) => [sid, asid]))
}

const halves = (value: bigint): [lo: number, hi: number] => [Number(value & 0xffff_ffffn) | 0, Number(value >> 32n) | 0]
