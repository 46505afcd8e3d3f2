/** Options, and the IOAS of the VFIO container ioctls. [uAPI IOMMU_OPTION, IOMMU_VFIO_IOAS] */

import type { Call } from './call.js'
import { Ioas } from './ioas.js'
import { Refusal } from './refusal.js'

type Empty = Record<never, never>

const RLIMIT_MODE = 1
const HUGE_PAGES = 2

interface OptionName {
  readonly option: number
  readonly objectId: number
}

/** An option's value. */
export function getOption(call: Call, request: OptionName): { value: bigint } {
  if (checkOption(request) === HUGE_PAGES) {
    return { value: call.look(Ioas, request.objectId, 'object_id').hugePages ? 1n : 0n }
  }
  return { value: 0n }
}

/** Sets an option. */
export function setOption(call: Call, request: OptionName & { readonly value: bigint }): Empty | Promise<Empty> {
  const { value } = request
  if (checkOption(request) === HUGE_PAGES) {
    const ioas = call.take(Ioas, request.objectId, 'object_id')
    if (value !== 0n && value !== 1n) throw new Refusal('EINVAL', 'HUGE_PAGES is 0 or 1', { value })
    return call.inSlices(
      (function* () {
        yield* ioas.setHugePages(value === 1n)
        return {}
      })(),
    )
  }
  const reason = 'memory is accounted to contexts and users here, not to processes; RLIMIT_MODE stays 0'
  throw new Refusal('EOPNOTSUPP', reason, { value })
}

/** The IOAS of the VFIO container ioctls. */
export function getVfioIoas(call: Call, _request: object): { ioasId: number } {
  const { vfioIoas } = call.context
  if (vfioIoas === undefined) throw new Refusal('ENODEV', 'no IOAS is set; SetVfioIoas sets one')
  return { ioasId: vfioIoas.id }
}

/** Sets it; the IOAS is not held. */
export function setVfioIoas(call: Call, request: { readonly ioasId: number }): Empty {
  call.context.vfioIoas = call.look(Ioas, request.ioasId, 'ioas_id')
  return {}
}

/** Forgets it. */
export function clearVfioIoas(call: Call, _request: object): Empty {
  call.context.vfioIoas = undefined
  return {}
}

function checkOption({ option, objectId }: OptionName): number {
  if (option === HUGE_PAGES) return option
  if (option !== RLIMIT_MODE) throw new Refusal('EOPNOTSUPP', `option ${option} is not known`, { option })
  if (objectId === 0) return option
  throw new Refusal('EOPNOTSUPP', 'RLIMIT_MODE is the context’s: object_id must be 0', { object_id: objectId })
}
