/**
 * What a unit keeps of configuration and translations. Every cache is optional and has a size of its own; a policy says
 * what is not said. Caches change speed and nothing else for software that invalidates as the manual asks, and for
 * software that does not, they are as stale as real ones. [SMMU 16.2 Caching] [SMMU 4.4 TLB invalidation]
 */

import { Chance } from '../cache/chance.js'
import { type CacheGeometry, DEFAULT_GEOMETRY, NAMES, NO_CACHE } from '../cache/geometry.js'
import type { CachePolicy } from '../port.js'

export type { CachePolicy } from '../port.js'

/** Entries of each configuration cache; 0 switches it off. */
export interface ConfigEntries {
  readonly ste: number
  readonly l1std: number
  readonly cd: number
  readonly l1cd: number
}

/** How a unit's caches are made. */
export interface CacheOptions {
  /** What the rest is where it is absent; `hardware` if absent itself. */
  readonly policy?: CachePolicy
  /** By VA; entries of both stages are combined. */
  readonly tlb?: CacheGeometry
  /** By IPA: stage 2 alone, for the output of stage 1, its tables and CDs too. */
  readonly ipa?: CacheGeometry
  /** Table entries of stage 1, and of stage 2. */
  readonly walk1?: CacheGeometry
  readonly walk2?: CacheGeometry
  /** Entries of all configuration caches, or of each. */
  readonly configEntries?: number | Partial<ConfigEntries>
  /** A leaf with the Contiguous bit is kept as the whole span that it is part of. */
  readonly contiguous?: boolean
  /** A leaf that denies the access which found it is kept too. */
  readonly denials?: boolean
  /** Which entry makes room: each in turn, or one by chance. */
  readonly replacement?: 'round-robin' | 'random'
  /** Where chance starts. */
  readonly seed?: number
  /** Whether commands drop what they must; also what they may; or what they must, and not before the next SYNC. */
  readonly invalidation?: 'exact' | 'wide' | 'late'
  /** ASIDs, and VMIDs, told apart at once; one more, and everything is forgotten. */
  readonly names?: number
}

/** The same, with nothing left open. */
export interface CachePlan {
  readonly tlb: CacheGeometry
  readonly ipa: CacheGeometry
  readonly walk1: CacheGeometry
  readonly walk2: CacheGeometry
  readonly config: ConfigEntries
  readonly contiguous: boolean
  readonly denials: boolean
  readonly chance: Chance | null
  readonly names: number
  readonly isWide: boolean
  readonly isLate: boolean
}

const ONE: CacheGeometry = { entries: 1, ways: 1 }
const GREEDY: CacheGeometry = { entries: 16384, ways: 8 }

interface Defaults {
  readonly leaves: CacheGeometry
  readonly tables: CacheGeometry
  readonly config: number
  readonly isGreedy: boolean
}

const HARDWARE: Defaults = {
  leaves: DEFAULT_GEOMETRY,
  tables: { entries: 1024, ways: 4 },
  config: 4096,
  isGreedy: false,
}

/**
 * `greedy` units have larger caches, keep whole contiguous spans and entries that deny, and what is invalidated stays
 * until a SYNC.
 */
const POLICIES: Readonly<Record<CachePolicy, Defaults>> = {
  off: { leaves: NO_CACHE, tables: NO_CACHE, config: 0, isGreedy: false },
  minimal: { leaves: ONE, tables: ONE, config: 1, isGreedy: false },
  hardware: HARDWARE,
  greedy: { leaves: GREEDY, tables: { entries: 4096, ways: 8 }, config: 4096, isGreedy: true },
  random: HARDWARE,
}

/** Settles what options leave open. */
export function planCaches(options: CacheOptions = {}): CachePlan {
  const policy = options.policy ?? 'hardware'
  const { leaves, tables, config, isGreedy } = POLICIES[policy]
  const isRandom = (options.replacement ?? policy) === 'random'
  const given = options.configEntries ?? {}
  const all = typeof given === 'number' ? given : config
  const each = typeof given === 'number' ? {} : given
  return {
    tlb: options.tlb ?? leaves,
    ipa: options.ipa ?? leaves,
    walk1: options.walk1 ?? tables,
    walk2: options.walk2 ?? tables,
    config: { ste: all, l1std: all, cd: all, l1cd: all, ...each },
    contiguous: options.contiguous ?? isGreedy,
    denials: options.denials ?? isGreedy,
    chance: isRandom ? new Chance(options.seed ?? 0) : null,
    names: options.names ?? NAMES,
    isWide: options.invalidation === 'wide',
    isLate: options.invalidation === undefined ? isGreedy : options.invalidation === 'late',
  }
}

/** Leaves of both stages in caches of one size; where that is nothing, tables are not kept either. */
export function cachesOfSize(geometry: CacheGeometry): CacheOptions {
  const leaves = { tlb: geometry, ipa: geometry }
  return geometry.entries === 0 ? { ...leaves, walk1: NO_CACHE, walk2: NO_CACHE } : leaves
}
