/** The command that makes a function forget. [SMMU 4.5.1 CMD_ATC_INV] */

import { pageOf } from '../bits/address.js'
import type { DeviceCommands } from '../oracle/device-tlbs.js'
import { type Invalidation, NO_PASID } from '../port.js'
import { SIZE_ALL } from './command-records.js'

const PAGE_LG2 = 12

/** A command that empties the TLB of the same page. */
function isOfPage({ name, page }: Invalidation, { page: wanted = [0, 0] }: Invalidation): boolean {
  if (!name.startsWith('TLBI_')) return false
  return page === undefined || (page[0] === wanted[0] && page[1] === wanted[1])
}

/** What an SMMUv3 sends to functions. */
export const SMMU_DEVICES: DeviceCommands = {
  command(SID, SSID, lo, hi) {
    const of: Record<string, number> = SSID === NO_PASID ? {} : { SSID }
    return { name: 'ATC_INV', operands: { SID, ...of, G: 0, Size: 0 }, page: [lo >>> 0, hi >>> 0] }
  },

  wide({ name, operands, page = [0, 0] }, leafLg2) {
    const lo = leafLg2 >= 32 ? 0 : (page[0] & (-1 << leafLg2)) >>> 0
    const hi = leafLg2 <= 32 ? page[1] : (page[1] & (-1 << (leafLg2 - 32))) >>> 0
    return { name, operands: { ...operands, Size: leafLg2 - PAGE_LG2 }, page: [lo, hi] }
  },

  shortfalls(sent, missing) {
    if (sent.name !== 'ATC_INV') return isOfPage(sent, missing) ? ['drops what the unit keeps, not the device'] : null
    const short: string[] = []
    const { SID, SSID, G, Size = 0 } = sent.operands
    const wanted = missing.operands
    if (SID !== wanted['SID']) short.push(`wrong SID (${SID}, needed ${wanted['SID']})`)
    if ((SSID === undefined) !== (wanted['SSID'] === undefined)) {
      short.push(`reaches what was got ${SSID === undefined ? 'without' : 'with'} a SubstreamID alone`)
    } else if (SSID !== wanted['SSID'] && G !== 1) {
      short.push(`wrong SSID (${SSID}, needed ${wanted['SSID']})`)
    }
    if (Size >= SIZE_ALL) return short
    const [from = [0, 0], to = [0, 0]] = [sent.page, missing.page]
    const pages = 2 ** Size
    const number = pageOf(from[0], from[1])
    const first = number - (number % pages)
    const page = pageOf(to[0], to[1])
    if (page < first) short.push(`range starts at 0x${first.toString(16)}000`)
    if (page >= first + pages) short.push(`range ends at 0x${(first + pages - 1).toString(16)}fff`)
    return short
  },
}
