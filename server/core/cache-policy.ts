/** The contract's CachePolicy, and what a request says of it. */

import { Refusal } from './refusal.js'
import type { CacheMode, UnitCaches } from './unit-caches.js'

/** The contract's CachePolicy; what names none is HARDWARE. */
export const CACHE_POLICY = { UNSPECIFIED: 0, OFF: 1, MINIMAL: 2, HARDWARE: 3, GREEDY: 4, RANDOM: 5 } as const

/** One of CACHE_POLICY. */
export type CachePolicy = (typeof CACHE_POLICY)[keyof typeof CACHE_POLICY]

/** By the contract's number. */
const MODES: readonly CacheMode[] = ['hardware', 'off', 'minimal', 'hardware', 'greedy', 'random']

const POLICIES: Readonly<Record<UnitCaches['mode'], CachePolicy>> = {
  off: CACHE_POLICY.OFF,
  minimal: CACHE_POLICY.MINIMAL,
  hardware: CACHE_POLICY.HARDWARE,
  greedy: CACHE_POLICY.GREEDY,
  random: CACHE_POLICY.RANDOM,
  platform: CACHE_POLICY.UNSPECIFIED,
}

/** A policy as replies tell it; UNSPECIFIED where the platform gives sizes. */
export const policyOf = ({ mode }: UnitCaches): CachePolicy => POLICIES[mode]

/** The policy that a request asks for. @throws Refusal EOPNOTSUPP (policy), EINVAL (seed) */
export function cacheModeOf(policy: number, seed: number): CacheMode {
  const mode = MODES.at(policy)
  if (mode === undefined) throw new Refusal('EOPNOTSUPP', `cache policy ${policy} is not known`, { policy })
  if (seed !== 0 && mode !== 'random') {
    throw new Refusal('EINVAL', `a seed is for RANDOM, and the policy is ${mode.toUpperCase()}`, { policy, seed })
  }
  return mode
}
