/** A dirty bitmap as the IOVAs of the pages that were written: nobody reads bits of little-endian bytes. */

import { hex, type Message } from './format.js'

/** Ranges that are spelled; the bytes have the rest. */
const SHOWN = 16

/** What `GetDirtyBitmap` answered to `request`, in a line. */
export function renderDirtyPages(request: Message, reply: Message): string {
  const [iova, length, page] = ['iova', 'length', 'pageSize'].map((name) => BigInt((request[name] ?? 0) as bigint))
  const pages = page === 0n ? 0n : length / page
  const runs =
    request['asRuns'] === true ? runsIn(reply) : runsOf(reply['bitmap'] as Uint8Array, Number(pages), iova, page)
  const count = page === 0n ? 0n : runs.reduce((sum, [first, last]) => sum + (last - first + 1n) / page, 0n)
  const ranges = runs.slice(0, SHOWN).map(([first, last]) => `${hex(first)}-${hex(last)}`)
  if (runs.length > SHOWN) ranges.push(`${runs.length - SHOWN} more ranges`)
  return `dirty   ${[`${count} of ${pages} pages`, ...ranges].join(', ')}`
}

/** First and last byte. */
type Run = [first: bigint, last: bigint]

/** A reply's own runs. */
function runsIn(reply: Message): Run[] {
  const [firsts, lasts] = ['runFirsts', 'runLasts'].map((name) => reply[name] as BigUint64Array)
  return Array.from(firsts, (first, i) => [first, lasts[i]])
}

/** Runs of bits that are set, as the bytes that they stand for. */
function runsOf(bitmap: Uint8Array, bits: number, iova: bigint, page: bigint): Run[] {
  const runs: [number, number][] = []
  for (let bit = 0; bit < bits; bit++) {
    if (((bitmap[bit >> 3] ?? 0) & (1 << (bit & 7))) === 0) continue
    const last = runs.at(-1)
    if (last !== undefined && last[1] === bit - 1) last[1] = bit
    else runs.push([bit, bit])
  }
  return runs.map(([first, last]) => [iova + BigInt(first) * page, iova + BigInt(last + 1) * page - 1n])
}
