/** Invalidations of pages of our caches, as commands name them. */

import type { Page } from '../hw-model/bits/address.js'
import { type AddressScope, leavesOf } from '../hw-model/smmuv3/tlb-flags.js'
import type { Drop } from './drops.js'
import { OurIotlb, OurTlb } from './ours.js'
import { ENTRY, type Work } from './work.js'

const SPACE = { first: 0, last: 0 }
/** TG and TTL of a command that names leaves of 4 KiB, as Linux gives it. */
const [TG_4K, TTL_LEAF] = [1, 3]

const leavesIn = (first: Page, last: Page): AddressScope => ({
  first,
  last,
  leaves: leavesOf(TG_4K, TTL_LEAF),
  tables: null,
})

/** Ranges of the TLB's, by ASID and address. */
export function rangesOfTlb(work: Work, pages: number, size: string): Drop {
  const ours = new OurTlb(work)
  const range = rangesOf(work, pages)
  const drop = (n: number): void => {
    const entry = range(n)
    const first = pageAt(work, entry)
    const scope = leavesIn(first, (first + pages - 1) as Page)
    ours.tlb.dropVa(SPACE, work.entries[entry * ENTRY], scope)
  }
  return { name: `SMMUv3 ${pages} pages, ${size}`, ours, work, drop, ...manner(work, pages, range) }
}

/** Ranges of the IOTLB's, by PASID and address. */
export function rangesOfIotlb(work: Work, pages: number, size: string): Drop {
  const ours = new OurIotlb(work, true)
  const range = rangesOf(work, pages)
  const drop = (n: number): void => {
    const entry = range(n)
    const first = pageAt(work, entry)
    ours.iotlb.dropPasidPages(1, work.entries[entry * ENTRY] + 1, first, (first + pages - 1) as Page)
  }
  return { name: `VT-d ${pages} pages, ${size}`, ours, work, drop, ...manner(work, pages, range) }
}

/** One page at a time, wherever it stands. */
export function onePageOfTlb(work: Work, size: string, rounds: number): Drop {
  const ours = new OurTlb(work)
  const at = (n: number): number => work.order[n % work.plan.entries]
  const drop = (n: number): void => {
    const page = pageAt(work, at(n))
    ours.tlb.dropVa(SPACE, work.entries[at(n) * ENTRY], leavesIn(page, page))
  }
  const each = (n: number, forgotten: (entry: number) => void): void => forgotten(at(n))
  return { name: `SMMUv3 one page, ${size}`, ours, work, drop, each, batch: 1024, rounds }
}

function manner({ plan }: Work, pages: number, range: (n: number) => number): Pick<Drop, 'batch' | 'rounds' | 'each'> {
  const batch = pages === 64 ? 256 : Math.min(16, plan.entries / pages)
  const each = (n: number, forgotten: (entry: number) => void): void => {
    const from = range(n)
    for (let entry = from; entry < from + pages; entry++) forgotten(entry)
  }
  return { batch, rounds: 4 * batch, each }
}

/** The first translation of the nth range: through the contexts and all of their pages. */
function rangesOf({ plan }: Work, pages: number): (n: number) => number {
  const count = plan.entries / pages
  return (n) => (n % count) * pages
}

const pageAt = ({ entries }: Work, entry: number): Page =>
  (entries[entry * ENTRY + 2] * 2 ** 20 + (entries[entry * ENTRY + 1] >>> 12)) as Page
