/** A domain with thousands of PASIDs: one descriptor looks through the cache once, or not at all. */

import { describe, expect, it, vi } from 'vitest'
import type { Page } from '../../hw-model/bits/address.js'
import { planCaches } from '../../hw-model/vtd/cache-options.js'
import { dmaConfig } from '../../hw-model/vtd/dma-config.js'
import { Iotlb } from '../../hw-model/vtd/iotlb.js'
import { PGTT } from '../../hw-model/vtd/records.js'

const PASID_COUNT = 2000
const DID = 3
const PAGE = 0x400 as Page
const FAR = 0x402 as Page

/** Both pages of every PASID, second-stage for even PASIDs and first-stage for odd ones. */
function filled(): { readonly iotlb: Iotlb; readonly has: (page: Page) => number[] } {
  const iotlb = new Iotlb(planCaches({ iotlb: { entries: 16384, ways: 8 } }))
  const tags: number[] = []
  for (let pasid = 0; pasid < PASID_COUNT; pasid++) {
    const pgtt = pasid % 2 === 0 ? PGTT.SECOND : PGTT.FIRST
    const config = dmaConfig(pgtt, DID, pasid, 0, { secondTable: 0, secondLevels: 4, secondBits: 48, sre: false })
    tags.push(iotlb.internTag(8, pasid))
    for (const page of [PAGE, FAR]) iotlb.fill(tags[pasid], config, page, 12, page * 4096, -1, 3)
  }
  return { iotlb, has: (page) => [...tags.keys()].filter((pasid) => iotlb.find(tags[pasid], page) >= 0) }
}

describe('a domain of many PASIDs', () => {
  it('loses the page of every second-stage entry, and every first-stage entry, in one look through the cache', () => {
    const { iotlb, has } = filled()
    const drop = vi.spyOn(iotlb.cache, 'dropGroupPages')
    const evens = has(FAR).filter((pasid) => pasid % 2 === 0)
    expect(evens.length).toBeGreaterThan(PASID_COUNT / 4)
    iotlb.dropDomainPages(DID, PAGE, PAGE)
    expect([has(PAGE), has(FAR), drop.mock.calls.length]).toEqual([[], evens, 1])
  })

  it('is dropped whole without any look', () => {
    const { iotlb, has } = filled()
    const drop = vi.spyOn(iotlb.cache, 'dropGroupPages')
    iotlb.dropDomain(DID)
    expect([has(PAGE), has(FAR), drop.mock.calls.length]).toEqual([[], [], 0])
  })

  it('is dropped from a view in one look, and stays in the unit', () => {
    const { iotlb, has } = filled()
    const view = iotlb.view(planCaches())
    const drop = vi.spyOn(view.cache, 'dropGroupPages')
    const before = has(PAGE).length
    view.dropDomain(DID)
    expect([drop.mock.calls.length, view.cache.countLive(), has(PAGE).length]).toEqual([1, 0, before])
  })
})
