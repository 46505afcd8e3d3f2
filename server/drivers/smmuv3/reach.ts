/** Where the addresses of what is attached lead: whose changes reach a device, and what of it they reach. */

import type { DomainOps } from '../../core/driver.js'
import type { Attachment } from './attachments.js'
import { StageOneDomain, StageTwoDomain } from './paging.js'
import { RootDomain } from './root.js'
import { UserDomain } from './user.js'
import { windowOf } from './window-rules.js'

/** The paging domain whose tables a domain leads to. */
export function tablesOf(domain: DomainOps | null): StageOneDomain | StageTwoDomain | undefined {
  if (domain instanceof StageOneDomain || domain instanceof StageTwoDomain) return domain
  if (domain instanceof UserDomain) return domain.parent
  return domain === null ? undefined : windowOf(domain)?.parent
}

/** Whose addresses are the device's where a domain is attached. What comes to a window without a PASID skips stage 1. */
export function reachOf(domain: DomainOps): Attachment['reach'] {
  if (domain instanceof StageOneDomain || domain.kind === 'window') return 'own'
  if (domain instanceof RootDomain || (domain instanceof UserDomain && domain.translates)) return 'guest'
  return 'all-pasids'
}
