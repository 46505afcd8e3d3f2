/** Options, and the IOAS of the VFIO container ioctls. [uAPI IOMMU_OPTION, IOMMU_VFIO_IOAS] */

import type { Call } from './call.js'
import { Ioas } from './ioas.js'
import { ACCOUNT_MODE, isPrivileged } from './locked.js'
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
  return { value: BigInt(call.context.accountMode) }
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
  setAccountMode(call, value)
  return {}
}

function setAccountMode({ context, peer }: Call, value: bigint): void {
  if (!isPrivileged(peer)) {
    throw new Refusal('EPERM', 'RLIMIT_MODE is for root, or for the administrator’s socket', { uid: peer.uid })
  }
  if (!context.objects.isEmpty) {
    const facts = { objects: context.objects.size }
    throw new Refusal('EBUSY', 'RLIMIT_MODE is chosen before the context has any object; destroy them first', facts)
  }
  if (value !== 0n && value !== 1n) {
    throw new Refusal('EINVAL', 'RLIMIT_MODE is 0, a limit for each user, or 1, a limit for each process', { value })
  }
  context.accountMode = value === 0n ? ACCOUNT_MODE.USER : ACCOUNT_MODE.PROCESS
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
