/** A dirty bitmap as the IOVAs of the pages that were written: nobody reads bits of little-endian bytes. */

import { hex, type Message } from './format.js'

/** Ranges that are spelled; the bytes have the rest. */
const SHOWN = 16

/** What `GetDirtyBitmap` answered to `request`, in a line. */
export function renderDirtyPages(request: Message, reply: Message): string {
  const [iova, length, page] = ['iova', 'length', 'pageSize'].map((name) => BigInt((request[name] ?? 0) as bigint))
  const pages = page === 0n ? 0 : Number(length / page)
  const { count, runs } = runsOf(reply['bitmap'] as Uint8Array, pages)
  const ranges = runs
    .slice(0, SHOWN)
    .map(([first, last]) => `${hex(iova + BigInt(first) * page)}-${hex(iova + BigInt(last + 1) * page - 1n)}`)
  if (runs.length > SHOWN) ranges.push(`${runs.length - SHOWN} more ranges`)
  return `dirty   ${[`${count} of ${pages} pages`, ...ranges].join(', ')}`
}

/** Runs of bits that are set, as first and last, and how many bits that are. */
function runsOf(bitmap: Uint8Array, bits: number): { count: number; runs: [first: number, last: number][] } {
  const runs: [number, number][] = []
  let count = 0
  for (let bit = 0; bit < bits; bit++) {
    if (((bitmap[bit >> 3] ?? 0) & (1 << (bit & 7))) === 0) continue
    count++
    const last = runs.at(-1)
    if (last !== undefined && last[1] === bit - 1) last[1] = bit
    else runs.push([bit, bit])
  }
  return { count, runs }
}
