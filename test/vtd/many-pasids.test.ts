/** A domain with thousands of PASIDs: one descriptor costs by what is kept of them. */

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

interface Filled {
  readonly iotlb: Iotlb
  readonly fill: (pasid: number) => void
  readonly has: (page: Page) => number[]
}

/** Both pages of every PASID, second-stage for even PASIDs and first-stage for odd ones. */
function filled(): Filled {
  const iotlb = new Iotlb(planCaches({ iotlb: { entries: 16384, ways: 8 } }))
  const tags: number[] = []
  const fill = (pasid: number): void => {
    const pgtt = pasid % 2 === 0 ? PGTT.SECOND : PGTT.FIRST
    const config = dmaConfig(pgtt, DID, pasid, 0, { secondTable: 0, secondLevels: 4, secondBits: 48, sre: false })
    tags[pasid] = iotlb.internTag(8, pasid)
    for (const page of [PAGE, FAR]) iotlb.fill(tags[pasid], config, page, 12, page * 4096, -1, 3)
  }
  for (let pasid = 0; pasid < PASID_COUNT; pasid++) fill(pasid)
  return { iotlb, fill, has: (page) => [...tags.keys()].filter((pasid) => iotlb.find(tags[pasid], page) >= 0) }
}

describe('a domain of many PASIDs', () => {
  it('loses the page of every second-stage entry, and every first-stage entry', () => {
    const { iotlb, has } = filled()
    const evens = has(FAR).filter((pasid) => pasid % 2 === 0)
    expect(evens.length).toBeGreaterThan(PASID_COUNT / 4)
    iotlb.dropDomainPages(DID, PAGE, PAGE)
    expect([has(PAGE), has(FAR)]).toEqual([[], evens])
  })

  it('is dropped whole, and its PASIDs cost nothing more until something is kept under them again', () => {
    const { iotlb, has, fill } = filled()
    const lists = vi.spyOn(iotlb.cache, 'dropGroupPages')
    const single = vi.spyOn(iotlb.cache, 'dropGroupAt')
    /** Groups that were looked at so far, in lists and one by one. */
    const asked = (): number =>
      lists.mock.calls.reduce((sum, [groups]) => sum + (groups as number[]).length, single.mock.calls.length)
    iotlb.dropDomain(DID)
    expect([has(PAGE), has(FAR), asked()]).toEqual([[], [], PASID_COUNT])
    iotlb.dropDomain(DID)
    fill(6)
    iotlb.dropDomainPages(DID, PAGE, PAGE)
    expect([has(PAGE), has(FAR), asked()]).toEqual([[], [6], PASID_COUNT + 1])
    fill(7)
    iotlb.dropDomain(DID)
    expect([has(PAGE), has(FAR), asked()]).toEqual([[], [], PASID_COUNT + 3])
  })

  it('is dropped from a view, and stays in the unit', () => {
    const { iotlb, has } = filled()
    const view = iotlb.view(planCaches())
    const before = has(PAGE).length
    view.dropDomain(DID)
    expect([view.cache.countLive(), has(PAGE).length]).toEqual([0, before])
    iotlb.dropDomain(DID)
    expect(has(PAGE)).toEqual([])
  })
})
