/** Another process pays for all memory that a context has pinned. [uAPI IOMMU_IOAS_CHANGE_PROCESS] */

import type { Call } from './call.js'
import { Ioas } from './ioas.js'
import { type Payer, payerOf } from './locked.js'
import type { Pages } from './pages.js'
import { Refusal } from './refusal.js'
import { hexRange } from './u64.js'
import type { Work } from './work.js'

type Empty = Record<never, never>

/** Moves the accounting of every mapping of every IOAS to the caller. */
export function ioasChangeProcess(call: Call, _request: object): Empty | Promise<Empty> {
  return call.inSlices(
    (function* () {
      yield* changeProcess(call)
      return {}
    })(),
  )
}

/**
 * The same as work: all of it or nothing.
 *
 * @throws Refusal EINVAL (a mapping that is not a file's), ENOMEM, EBUSY
 */
export function* changeProcess(call: Call): Work<void> {
  const { context, peer } = call
  const payer = payerOf(peer, context.number)
  const every = [...context.objects.ascending()].filter((object) => object instanceof Ioas)
  const alone: Ioas[] = []
  const moving = new Set<Pages>()
  let isDone = false
  try {
    for (const ioas of every) {
      ioas.beginAlone(call, 'another process takes over the mappings of')
      alone.push(ioas)
    }
    for (const ioas of every) yield* checkFiles(ioas)
    for (const ioas of every) yield* chargeAlso(ioas, payer, moving)
    isDone = true
  } finally {
    for (const pages of moving) {
      pages.settle(isDone)
      yield
    }
    for (const ioas of alone) ioas.endAlone(call)
  }
}

/** Before anything is charged: one mapping that is not a file's refuses all. */
function* checkFiles({ id, areas }: Ioas): Work<void> {
  for (const area of areas) {
    if (!area.pages.isFile) {
      const reason = `${hexRange(area)} of IOAS ${id} maps memory of a process; only files’ memory, which IoasMapFile maps, can move`
      throw new Refusal('EINVAL', reason, { ioas: id, mapping: hexRange(area) })
    }
    yield
  }
}

/** Both pay until all is charged, or all of it is given back. */
function* chargeAlso({ areas }: Ioas, payer: Payer, moving: Set<Pages>): Work<void> {
  for (const { pages } of areas) {
    if (!moving.has(pages) && pages.chargeAlso(payer)) moving.add(pages)
    yield
  }
}
