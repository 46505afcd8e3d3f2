/**
 * Cutting areas in two, which only containers of VFIO's first type do: they may unmap part of a mapping.
 * [uAPI VFIO_IOMMU_UNMAP_DMA]
 */

import type { Area } from './area.js'
import type { Call } from './call.js'
import type { Ioas } from './ioas.js'
import { pageOffset } from './pages.js'
import { Refusal } from './refusal.js'
import { hex, hexRange } from './u64.js'

/**
 * Cuts areas behind some bytes, one after the other up to the first that cannot be; bytes where nothing is mapped, or
 * behind which an area ends anyway, are skipped. What DMA meets does not change.
 *
 * @throws Refusal EBUSY, EOPNOTSUPP, EINVAL, EDQUOT
 */
export function cutAreas(call: Call, ioas: Ioas, bytes: readonly bigint[]): void {
  ioas.beginMapping(call)
  try {
    for (const last of bytes) {
      const area = ioas.areas.firstIn(last, last)
      // One byte is never cut off, as in the kernel.
      if (area === undefined || last === area.start || last === area.last) continue
      checkCut(ioas, area, last)
      call.core.failPoint?.('area')
      ioas.context.quota.charge('areas')
      ioas.replace(area, area.cut(last))
    }
  } finally {
    ioas.endMapping(call)
  }
}

function checkCut(ioas: Ioas, area: Area, last: bigint): void {
  const { alignment } = ioas
  const facts = { ioas: ioas.id, mapping: hexRange(area), last: hex(last) }
  const cut = `the mapping ${hexRange(area)} cannot be cut behind ${hex(last)}`
  if (area.busy !== undefined) throw new Refusal('EBUSY', `${cut}: it is being ${area.busy}`, facts)
  if (area.preventsAccess) throw new Refusal('EBUSY', `${cut}: it is about to be unmapped`, facts)
  if (area.pages.source.kind === 'dma-buf') {
    throw new Refusal('EOPNOTSUPP', `${cut}: it is of a DMA buffer, which is mapped whole`, facts)
  }
  const source = pageOffset(area.pages, area.offset + (last + 1n - area.start))
  if (((last + 1n) | source) % alignment !== 0n) {
    throw new Refusal('EINVAL', `${cut}: the IOAS is in multiples of ${alignment} bytes`, facts)
  }
  if (area.accesses > 0) throw new Refusal('EINVAL', `${cut}: something inside the daemon has pinned part of it`, facts)
  if (area.pin !== undefined && ioas.hugePages) {
    throw new Refusal('EINVAL', `${cut}: its leaves may be larger; switch HUGE_PAGES off first`, facts)
  }
}
