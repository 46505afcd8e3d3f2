/** Checks that many calls begin with. */

import type { Call } from './call.js'
import { Refusal } from './refusal.js'

/** Refuses flag bits that a call does not know. @throws Refusal EOPNOTSUPP */
export function checkFlags(flags: number, known: number): void {
  const unknown = (flags & ~known) >>> 0
  if (unknown === 0) return
  const reason = known === 0 ? 'flags must be 0' : `flag bits 0x${unknown.toString(16)} are not known here`
  throw new Refusal('EOPNOTSUPP', reason, { flags: `0x${(flags >>> 0).toString(16)}` })
}

/** Refuses an array that is too long. @throws Refusal E2BIG */
export function checkCount(call: Call, count: number): void {
  const { batch_elements: most } = call.core.limits.call
  if (count <= most) return
  const facts = { limit: 'batch_elements', value: most, asked: count }
  throw new Refusal('E2BIG', `the limit batch_elements is ${most}, and the array has ${count}`, facts)
}

/** Refuses to move too many bytes. @throws Refusal E2BIG */
export function checkBytes(call: Call, bytes: number): void {
  const { batch_bytes: most } = call.core.limits.call
  if (bytes <= most) return
  const facts = { limit: 'batch_bytes', value: most, asked: bytes }
  throw new Refusal('E2BIG', `the limit batch_bytes is ${most}, and the call moves ${bytes}`, facts)
}
