/**
 * Descriptors that make a function forget: of what it got without a PASID, or with one. [VTD 6.5.2.5, 6.5.2.6]
 */

import { pageOf } from '../bits/address.js'
import type { DeviceCommands } from '../oracle/device-tlbs.js'
import { type Invalidation, NO_PASID } from '../port.js'
import { COMMAND } from './oracle-sent.js'

const PAGE_BYTES = 4096

/** What a VT-d unit sends to functions. */
export const VTD_DEVICES: DeviceCommands = {
  command(SID, PASID, lo, hi): Invalidation {
    const page = [lo >>> 0, hi >>> 0] as const
    if (PASID === NO_PASID) return { name: COMMAND.DEVICE, operands: { SID, S: 0 }, page }
    return { name: COMMAND.PASID_DEVICE, operands: { SID, PASID, S: 0 }, page }
  },

  /** The lowest bit that is 0 is half of the size, which is 1 GiB at most. [VTD 6.5.2.5 Device-TLB Invalidate Descriptor] */
  wide({ name, operands, page = [0, 0] }, leafLg2) {
    const half = 1 << (leafLg2 - 1)
    const lo = ((page[0] & (-1 << leafLg2)) | (half - PAGE_BYTES)) >>> 0
    return { name, operands: { ...operands, S: 1 }, page: [lo, page[1]] }
  },

  shortfalls(sent, missing) {
    const isDevices = sent.name === COMMAND.DEVICE || sent.name === COMMAND.PASID_DEVICE
    if (!isDevices) return isOfPage(sent, missing) ? ['drops what the unit keeps, not the device'] : null
    const short: string[] = []
    const { SID, PASID } = sent.operands
    if (SID !== missing.operands['SID']) short.push(`wrong SID (${SID}, needed ${missing.operands['SID']})`)
    if (sent.name !== missing.name) {
      short.push(`reaches what was got ${sent.name === COMMAND.DEVICE ? 'without' : 'with'} a PASID alone`)
    } else if (PASID !== undefined && PASID !== missing.operands['PASID']) {
      short.push(`wrong PASID (${PASID}, needed ${missing.operands['PASID']})`)
    }
    const [first, pages] = rangeOf(sent)
    const { page = [0, 0] } = missing
    const wanted = pageOf(page[0], page[1])
    if (wanted < first) short.push(`range starts at 0x${first.toString(16)}000`)
    if (wanted >= first + pages) short.push(`range ends at 0x${(first + pages - 1).toString(16)}fff`)
    return short
  },
}

/** A descriptor that empties the IOTLB of the same page. */
function isOfPage({ name, page, operands }: Invalidation, { page: wanted = [0, 0] }: Invalidation): boolean {
  if (name !== COMMAND.IOTLB && name !== COMMAND.PASID_IOTLB) return false
  if (page === undefined) return true
  const pages = 2 ** (operands['AM'] ?? 0)
  const named = pageOf(page[0], page[1])
  const first = named - (named % pages)
  const number = pageOf(wanted[0], wanted[1])
  return number >= first && number < first + pages
}

/** First page, and how many. */
function rangeOf({ operands, page = [0, 0] }: Invalidation): readonly [first: number, pages: number] {
  const number = pageOf(page[0], page[1])
  if (operands['S'] !== 1) return [number, 1]
  let pages = 2
  for (let rest: number = number; rest % 2 === 1; rest = (rest - 1) / 2) pages *= 2
  return [number - (number % pages), pages]
}
