/**
 * P3: a whole `translate()` that hits, from RID and PASID to the outcome, beside the look-up of a bare cache that holds
 * the same translations; streams and source-ids, every second with a SubstreamID or PASID.
 */

import { type Page, pageHigh, pageLow } from '../../hw-model/bits/address.js'
import { TagTable } from '../../hw-model/cache/tag-table.js'
import { TranslationCache } from '../../hw-model/cache/translation-cache.js'
import { ACCESS } from '../../hw-model/port.js'
import { geometricMean, nsOf } from '../measure.js'
import { inPieces } from '../pieces.js'
import { FRAME, IOVA, type Requests, randomRequests, send, warm } from '../pipeline/fleet.js'
import { smmuFleet } from '../pipeline/smmu-fleet.js'
import { vtdFleet } from '../pipeline/vtd-fleet.js'
import type { Bench, Row } from '../row.js'

const POPULATIONS = [1, 16, 1000, 10_000] as const
const PAGES = 2 ** 14
const REQUESTS = 2 ** 16
/** Four times what is resident: nothing has to make room, though it could. */
const ENTRIES = 4 * PAGES
const WAYS = 4

const NAME = { LOOKUP: 'look-up', SMMU: 'SMMUv3', VTD: 'VT-d' } as const

/** The row. */
export const row: Row = {
  id: 'P3',
  what: 'a whole translate() that hits, against the look-up of its cache',
  async run(bench) {
    const found: Awaited<ReturnType<typeof population>>[] = []
    for (const requesters of POPULATIONS) found.push(await population(bench, requesters))
    const ratio = (name: string): number => geometricMean(found.map(({ ns }) => ns(name) / ns(NAME.LOOKUP)))
    const [must, should] = [{ atMost: 2 }, { atMost: 1.5 }]
    return {
      criteria: [
        { name: NAME.SMMU, measured: ratio(NAME.SMMU), must, should },
        { name: NAME.VTD, measured: ratio(NAME.VTD), must, should },
      ],
      detail: Object.fromEntries(
        found.map(({ requesters, ns }) => [
          `${requesters} requesters`,
          Object.fromEntries(Object.values(NAME).map((name) => [`${name} ns`, Math.round(ns(name) * 10) / 10])),
        ]),
      ),
    }
  },
}

async function population(bench: Bench, requesters: number) {
  const pages = Math.max(2, Math.floor(PAGES / requesters))
  const options = { requesters, mixed: requesters > 1, pages, entries: ENTRIES }
  const requests = randomRequests(REQUESTS, requesters, pages)
  const fleets = [smmuFleet(options), vtdFleet(options)]
  for (const fleet of fleets) warm(fleet, pages)
  const [smmu, vtd] = fleets
  const cache = new BareCache(requesters, pages)
  const timings = await bench.race(
    [
      { name: NAME.LOOKUP, operations: REQUESTS, run: (rounds) => cache.lookUp(requests, rounds) },
      { name: NAME.SMMU, operations: REQUESTS, run: (rounds) => send(smmu, requests, rounds) },
      { name: NAME.VTD, operations: REQUESTS, run: (rounds) => send(vtd, requests, rounds) },
    ],
    { agree: false },
  )
  const ns = (name: string): number => nsOf(timings, name)
  bench.say(`${requesters}: ${timings.map(({ name, medianNs }) => `${name} ${medianNs.toFixed(1)}`).join(', ')}`)
  return { requesters, ns }
}

/** The cache alone, asked by those who know their tags: find, permission, address. */
class BareCache {
  readonly #cache: TranslationCache

  constructor(requesters: number, pages: number) {
    const tags = new TagTable(2 ** 16, () => undefined)
    const groups = new TagTable(2 ** 16, () => undefined)
    this.#cache = new TranslationCache({ entries: ENTRIES, ways: WAYS }, tags, groups)
    for (let who = 0; who < requesters; who++) {
      const tag = tags.intern(who)
      const group = groups.intern(who)
      for (let page = 0; page < pages; page++) {
        this.#cache.fill(tag, group, (IOVA / 4096 + page) as Page, 12, FRAME + page * 4096, RW, 0)
      }
    }
  }

  lookUp(requests: Requests, rounds: number): number {
    return inPieces(requests.who.length, rounds, (from, end) => this.#some(requests, from, end))
  }

  #some({ who, page }: Requests, from: number, end: number): number {
    const cache = this.#cache
    let sum = 0
    for (let i = from; i < end; i++) {
      const lo = (LOW + (page[i] << 12) + (i & 0xff8)) | 0
      const slot = cache.findAt(who[i], lowOf(lo, HIGH), highOf(HIGH))
      // A set may have had to make room.
      if (slot < 0) continue
      const need = i % 3 === 0 ? WRITE : READ
      if ((cache.flagsOf(slot) & need) !== need) continue
      sum += cache.addressOf(slot) + (lo & ((1 << cache.leafLg2Of(slot)) - 1))
    }
    return sum
  }
}

const { READ, WRITE } = ACCESS
const [LOW, HIGH] = [IOVA % 2 ** 32, Math.floor(IOVA / 2 ** 32)]
const [lowOf, highOf] = [pageLow, pageHigh]
const RW = ACCESS.READ | ACCESS.WRITE
