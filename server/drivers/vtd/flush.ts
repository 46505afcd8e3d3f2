/**
 * Which descriptors make every cache forget a range of a domain: one for each of its tags, as Linux computes them.
 * [VTD 6.5.2.3, 6.5.2.4, 6.5.3.3 T28]
 */

import { type CacheTag, type CacheTags, TAG } from './cache-tags.js'
import {
  allTranslations,
  type Descriptor,
  devicePages,
  domainPages,
  domainTranslations,
  EVERY_PAGE,
  type PageBlock,
  pasidPages,
  pasidTranslations,
} from './descriptors.js'
import type { VtdHardware } from './hardware.js'

/**
 * Tags beyond which each domain-id is forgotten whole, and domain-ids beyond which all are. A descriptor takes about 5 us,
 * and a flush is one turn of the server.
 */
const WHOLE_FROM_TAGS = 256

/** Descriptors of one call beyond which a client's ranges become one: everything. */
const MOST_DESCRIPTORS = 1024

/** What is to be forgotten. */
export interface Change {
  readonly block: PageBlock
  /** No entry that points to a table has changed. */
  readonly leavesOnly: boolean
}

/**
 * Descriptors for a change of tables.
 *
 * @param byPasid the domain's own translations are first-stage ones, which are found by PASID
 */
export function flushDescriptors(
  hardware: VtdHardware,
  tags: CacheTags,
  byPasid: boolean,
  change: Change,
): readonly Descriptor[] {
  const all = [...tags]
  if (all.length <= WHOLE_FROM_TAGS) return all.map((tag) => descriptorOf(hardware, tag, byPasid, change))
  return [
    ...wholeDomains(hardware, all),
    ...all.filter(isDevices).map((tag) => descriptorOf(hardware, tag, byPasid, change)),
  ]
}

/** Descriptors for several changes of a table that is found by PASID. */
export function changesDescriptors(
  hardware: VtdHardware,
  tags: CacheTags,
  changes: readonly Change[],
): readonly Descriptor[] {
  const isMuch = changes.length * tags.size > MOST_DESCRIPTORS
  const all = isMuch ? [{ block: EVERY_PAGE, leavesOnly: false }] : changes
  return all.flatMap((change) => flushDescriptors(hardware, tags, true, change))
}

/**
 * Descriptors for entries that were absent, which only caching mode keeps, and never of the first stage.
 * [VTD 6.1 Caching Mode]
 */
export function setUpDescriptors(hardware: VtdHardware, tags: CacheTags, block: PageBlock): readonly Descriptor[] {
  const change = { block, leavesOnly: false }
  const ours = [...tags].filter((tag) => !isDevices(tag))
  if (ours.length > WHOLE_FROM_TAGS) return wholeDomains(hardware, ours)
  return ours.map((tag) => descriptorOf(hardware, tag, false, change))
}

const isDevices = ({ tlb }: CacheTag): boolean => tlb !== null

function descriptorOf(hardware: VtdHardware, tag: CacheTag, byPasid: boolean, change: Change): Descriptor {
  const { kind, did, pasid, tlb } = tag
  const { block, leavesOnly } = change
  // What a device keeps of nested translations is found by addresses that the second stage does not know.
  if (tlb !== null) return devicePages(tlb, pasid, kind === TAG.NESTED_DEVICE_TLB ? EVERY_PAGE : block)
  if (byPasid) {
    return block === EVERY_PAGE ? pasidTranslations(did, pasid) : pasidPages(did, pasid, block, leavesOnly)
  }
  const { cap, drains } = hardware
  const canSelect = cap['PSI'] !== 0 && block.am <= cap['MAMV']
  return canSelect ? domainPages(drains, did, block, leavesOnly) : domainTranslations(drains, did)
}

function wholeDomains({ drains }: VtdHardware, tags: readonly CacheTag[]): readonly Descriptor[] {
  const dids = new Set(tags.filter((tag) => !isDevices(tag)).map(({ did }) => did))
  if (dids.size > WHOLE_FROM_TAGS) return [allTranslations(drains)]
  return [...dids].map((did) => domainTranslations(drains, did))
}
