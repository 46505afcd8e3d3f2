/**
 * Memory that its exporter can take back from whoever has mapped it. It is mapped as a device's registers are: nobody
 * pins it, pays for it, or copies from it. Only the self-test exports any. [uAPI IOMMU_IOAS_MAP_FILE]
 */

import type { Area } from './area.js'
import type { Call } from './call.js'
import { all } from './completion.js'
import { Ioas } from './ioas.js'
import type { PagesSource } from './pages.js'
import { Refusal } from './refusal.js'
import { type Region, releaseMemory } from './region.js'
import { U64_MAX } from './u64.js'
import type { Work } from './work.js'

/** One buffer. Its file and every mapping hold its memory. */
export class DmaBuf {
  /** Without an id: no call names it. */
  readonly region: Region
  /** Nobody can map it now. */
  isRevoked = false

  constructor(region: Region) {
    this.region = region
  }

  /** What a new mapping maps. @throws Refusal EINVAL (beyond its end), ENODEV (revoked) */
  source(offset: bigint, length: bigint): PagesSource {
    const bytes = BigInt(this.region.memory.lengthBytes)
    if (bytes <= offset + length - 1n) {
      throw new Refusal('EINVAL', `the buffer has ${bytes} bytes`, { start: offset, length, bytes })
    }
    if (this.isRevoked) throw new Refusal('ENODEV', 'the buffer was revoked by its exporter')
    return { kind: 'dma-buf', region: this.region, offset, buffer: this }
  }
}

/** Makes a buffer. @throws Refusal EDQUOT, ENOMEM */
export function makeDmaBuf(call: Call, lengthBytes: number): DmaBuf {
  const { core, context } = call
  call.charge('regions')
  call.charge('region_bytes', lengthBytes)
  core.failPoint?.('buffer')
  const hold = (bytes: number): void => context.quota.charge('resident_bytes', bytes)
  const memory = core.machine.createRegion({ kind: 'anonymous', lengthBytes }, hold)
  call.onUndo(() => releaseMemory(context, memory))
  return new DmaBuf(context.regions.addNameless(memory))
}

/**
 * Revokes a buffer or allows it again. Either way it is taken out of all tables, and what had mapped it maps nothing
 * from then on; the areas stay.
 *
 * @throws Refusal EBUSY, where another call maps or unmaps
 */
export function* revoke(call: Call, buffer: DmaBuf, isRevoked: boolean): Work<void> {
  const spaces: Ioas[] = []
  try {
    for (const object of call.context.objects.ascending()) {
      if (!(object instanceof Ioas)) continue
      object.beginAlone(call, 'a buffer is taken out of')
      spaces.push(object)
    }
    buffer.isRevoked = isRevoked
    for (const ioas of spaces) yield* takeOut(ioas, buffer)
  } finally {
    for (const ioas of spaces) ioas.endAlone(call)
  }
}

function* takeOut(ioas: Ioas, buffer: DmaBuf): Work<void> {
  const taken: Area[] = []
  let area = ioas.areas.firstFrom(0n)
  while (area !== undefined) {
    const { source } = area.pages
    if (source.kind === 'dma-buf' && source.buffer === buffer) {
      area.pages.takeBack()
      for (const domain of ioas.domains) yield* domain.remove(area)
      taken.push(area)
    }
    yield
    area = area.last === U64_MAX ? undefined : ioas.areas.firstFrom(area.last + 1n)
  }
  if (taken.length > 0) yield all([...ioas.domains].map(({ ops }) => ops.flush()))
  for (const one of taken) one.unpin()
  for (const domain of ioas.domains) domain.releaseTables()
}
