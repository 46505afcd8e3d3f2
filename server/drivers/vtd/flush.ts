/**
 * Which descriptors make every cache forget a range of a domain: one for each of its tags, as Linux computes them.
 * [VTD 6.5.2.3, 6.5.2.4, 6.5.3.3 T28]
 */

import { RID_SLOT } from '../../core/driver.js'
import { type CacheTag, type CacheTags, TAG } from './cache-tags.js'
import {
  allTranslations,
  type Descriptor,
  type DeviceFlush,
  devicePages,
  devicePasids,
  domainPages,
  domainTranslations,
  EVERY_PAGE,
  type Flush,
  type PageBlock,
  pasidPages,
  pasidTranslations,
} from './descriptors.js'
import type { VtdHardware } from './hardware.js'

/**
 * Tags beyond which each domain-id is forgotten whole, domain-ids beyond which all are, and tags of devices' caches beyond
 * which each device forgets everything. A descriptor takes about 5 us, and a flush is one turn of the server.
 */
const WHOLE_FROM_TAGS = 256

/** Descriptors of one step of a client's call: one for a wide range takes up to 50 us where the unit's cache is full. */
const DESCRIPTORS_A_STEP = 64

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
): readonly Flush[] {
  const each = (tag: CacheTag): Flush => descriptorOf(hardware, tag, byPasid, change)
  if (tags.size <= WHOLE_FROM_TAGS) return [...tags].map(each)
  const { ofDevices } = tags
  const ofEachDevice = ofDevices.size <= WHOLE_FROM_TAGS ? [...ofDevices.values()].map(each) : wholeDevices(tags)
  return [...wholeDomains(hardware, tags), ...ofEachDevice]
}

/** How many changes of a table make a step of work, if it is found under these tags: at least one. */
export const changesAStep = ({ size }: CacheTags): number =>
  Math.max(1, Math.floor(DESCRIPTORS_A_STEP / Math.max(1, size)))

/**
 * Descriptors for entries that were absent, which only caching mode keeps, and never of the first stage.
 * [VTD 6.1 Caching Mode]
 */
export function setUpDescriptors(hardware: VtdHardware, tags: CacheTags, block: PageBlock): readonly Descriptor[] {
  const change = { block, leavesOnly: false }
  if (tags.size - tags.ofDevices.size > WHOLE_FROM_TAGS) return wholeDomains(hardware, tags)
  return [...tags].filter(({ tlb }) => tlb === null).map((tag) => unitsOf(hardware, tag, false, change))
}

function descriptorOf(hardware: VtdHardware, tag: CacheTag, byPasid: boolean, change: Change): Flush {
  const { kind, pasid, tlb } = tag
  if (tlb === null) return unitsOf(hardware, tag, byPasid, change)
  // What a device keeps of nested translations is found by addresses that the second stage does not know.
  return devicePages(tlb, pasid, kind === TAG.NESTED_DEVICE_TLB ? EVERY_PAGE : change.block)
}

/** The unit's own part. */
function unitsOf(hardware: VtdHardware, { did, pasid }: CacheTag, byPasid: boolean, change: Change): Descriptor {
  const { block, leavesOnly } = change
  if (byPasid) {
    return block === EVERY_PAGE ? pasidTranslations(did, pasid) : pasidPages(did, pasid, block, leavesOnly)
  }
  const { cap, drains } = hardware
  const canSelect = cap['PSI'] !== 0 && block.am <= cap['MAMV']
  return canSelect ? domainPages(drains, did, block, leavesOnly) : domainTranslations(drains, did)
}

function wholeDomains({ drains }: VtdHardware, { byDid }: CacheTags): readonly Descriptor[] {
  if (byDid.size > WHOLE_FROM_TAGS) return [allTranslations(drains)]
  return [...byDid.keys()].map((did) => domainTranslations(drains, did))
}

const wholeDevices = ({ byDevice }: CacheTags): readonly DeviceFlush[] =>
  [...byDevice.values()].flatMap(({ tlb, plain, withPasid }) => [
    ...(plain > 0 ? [devicePages(tlb, RID_SLOT, EVERY_PAGE)] : []),
    ...(withPasid > 0 ? [devicePasids(tlb)] : []),
  ])
