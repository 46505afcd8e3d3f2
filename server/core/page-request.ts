/** PRI page requests as clients ask for them, of streams and of devices. */

import type { AtsPageRequest } from './device-events.js'
import { DMA_ACCESS } from './driver.js'
import { Refusal } from './refusal.js'
import { halvesOf } from './u64.js'

/** What RequestPages takes. */
export interface PagesRequest {
  readonly deviceId?: number
  readonly stream?: { readonly unitId: number; readonly sourceId: number }
  readonly pasid?: number
  readonly requests: readonly {
    readonly iova: bigint
    readonly access: number
    readonly groupIndex: number
    readonly last: boolean
  }[]
}

const PAGE_MASK = ~0xfffn

/** READ or WRITE, without which a last request is a stop marker. */
export const moves = ({ access }: { readonly access: number }): boolean =>
  (access & (DMA_ACCESS.READ | DMA_ACCESS.WRITE)) !== 0

/** Bits of a page request's access. */
const PAGE_ACCESS = DMA_ACCESS.READ | DMA_ACCESS.WRITE | DMA_ACCESS.EXECUTE | DMA_ACCESS.PRIVILEGED

/** Page Request Group Indices have 9 bits. [PCIe 10.4.1] */
const GROUP_END = 512

/** @throws Refusal EINVAL */
export function pageRequestOf(
  { iova, access, groupIndex: group, last: isLast }: PagesRequest['requests'][number],
  pasid: number,
): AtsPageRequest {
  if (group >= GROUP_END) throw new Refusal('EINVAL', 'a group index has at most 9 bits', { group_index: group })
  if ((access & ~PAGE_ACCESS) !== 0) throw new Refusal('EINVAL', 'an access has bits of AccessFlag', { access })
  const [lo, hi] = halvesOf(iova & PAGE_MASK)
  const request = { pasid, lo, hi, access, group, isLast }
  if (moves(request)) return request
  if (isLast && pasid >= 0) return request
  throw new Refusal('EINVAL', 'a page request has READ or WRITE; a stop marker has neither, but last and a PASID', {
    access,
  })
}
