/**
 * Operations on the caller's memory: how often its pages are pinned, and where they are. A page is a page of a memory
 * region; memory that came with the call is readable, and is nobody's page.
 */

import type { Call } from '../core/call.js'
import { allPages, pinCount } from '../core/pin-count.js'
import { Refusal } from '../core/refusal.js'
import type { Region } from '../core/region.js'
import { hex, PAGE, U64_MAX } from '../core/u64.js'
import { isLook, type Work } from '../core/work.js'
import type { TestAnswer, TestRun } from './test-command.js'
import { TEST_OP } from './test-structs.js'
import type { UserMemory } from './user-memory.js'

/** By number. */
export const MEMORY_OPS: Readonly<Record<number, TestRun>> = {
  [TEST_OP.MD_CHECK_REFS](call, { check_refs_length: length, check_refs_uptr: uptr, check_refs_refs: refs }, user) {
    if ((length | uptr) % PAGE !== 0n || uptr + length > U64_MAX) {
      throw new Refusal('EINVAL', 'length and uptr are multiples of 4096, and the memory ends below 2^64')
    }
    return call.inSlices(checkRefs(call, user, { length, uptr, refs }))
  },
}

/** The physical address behind one of the caller's; undefined in memory that is no region's. @throws Refusal EFAULT */
export function physicalBehind(call: Call, user: UserMemory, address: bigint): number | undefined {
  const place = placeBehind(call, user, address)
  return place && place.region.memory.address + place.offset
}

function placeBehind(
  call: Call,
  user: UserMemory,
  address: bigint,
): { readonly region: Region; readonly offset: number } | undefined {
  user.mustHold(address, 1)
  const region = call.context.regions.atClientAddress(address)
  if (region?.spec.clientAddress === undefined) return undefined
  return { region, offset: Number(address - region.spec.clientAddress) }
}

/** Each mapping's memory is pinned once, however many areas, domains and accesses use it. */
function* checkRefs(
  call: Call,
  user: UserMemory,
  { length, uptr, refs }: { readonly length: bigint; readonly uptr: bigint; readonly refs: number },
): Work<TestAnswer> {
  const all = allPages(call.context)
  for (let at = 0n; at < length; at += PAGE) {
    const place = placeBehind(call, user, uptr + at)
    const pins = place === undefined ? 0 : pinCount(all, place.region, place.offset)
    if (isLook(Number(at / PAGE))) yield
    if (pins === refs) continue
    const reason = `the page at ${hex(uptr + at)} is pinned ${pins} times, not ${refs}`
    throw new Refusal('EIO', reason, { address: hex(uptr + at), pins })
  }
  return {}
}
