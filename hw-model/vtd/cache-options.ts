/**
 * What a unit keeps of configuration and translations. Every cache is optional and has a size of its own; a policy says
 * what is not said. Caches change speed and nothing else for software that invalidates as the manual asks, and for
 * software that does not, they are as stale as real ones. [VTD 6.2 Address Translation Caches]
 */

import { Chance } from '../cache/chance.js'
import { type CacheGeometry, DEFAULT_GEOMETRY, NAMES, NO_CACHE } from '../cache/geometry.js'
import type { CachePolicy } from '../port.js'

export type { CachePolicy } from '../port.js'

/** How a unit's caches are made. */
export interface CacheOptions {
  /** What the rest is where it is absent; `hardware` if absent itself. */
  readonly policy?: CachePolicy
  /** Context entries and PASID table entries; 0 switches a cache off. */
  readonly contextEntries?: number
  readonly pasidEntries?: number
  /** Translations of all types. */
  readonly iotlb?: CacheGeometry
  /** Paging-structure entries of the first stage, and of the second. */
  readonly walk1?: CacheGeometry
  readonly walk2?: CacheGeometry
  /** Host permissions. [VTD 6.2.6 HPT Cache] */
  readonly permissions?: CacheGeometry
  /** What faulted is kept too, as far as caching mode allows; without CAP.CM it never is. [VTD 6.1 Caching Mode] */
  readonly faults?: boolean
  /** A hit that lacks a right walks again (lenient) or faults (strict). [VTD 3.6.1 Access Rights, 6.5.3.6] */
  readonly rights?: 'lenient' | 'strict'
  /** A large page is kept as 4 KiB of it. [VTD 6.2.4.1 Details of IOTLB Use] */
  readonly fractions?: boolean
  /** Which entry makes room: each in turn, or one by chance. */
  readonly replacement?: 'round-robin' | 'random'
  /** Where chance starts. */
  readonly seed?: number
  /** Requesters, and domains with their PASIDs, told apart at once; one more, and everything is forgotten. */
  readonly names?: number
  /** Whether descriptors drop what they must; also what they may; or what they must, and not before the next wait. */
  readonly invalidation?: 'exact' | 'wide' | 'late'
}

/** The same, with nothing left open. */
export interface CachePlan {
  readonly contextEntries: number
  readonly pasidEntries: number
  readonly iotlb: CacheGeometry
  readonly walk1: CacheGeometry
  readonly walk2: CacheGeometry
  readonly permissions: CacheGeometry
  readonly faults: boolean
  readonly isStrict: boolean
  readonly fractions: boolean
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
  readonly contexts: number
  readonly pasids: number
}

/** Every function of a large machine's unit, and a PASID for each process of a busy one. */
const HARDWARE: Defaults = {
  leaves: DEFAULT_GEOMETRY,
  tables: { entries: 1024, ways: 4 },
  contexts: 256,
  pasids: 1024,
}

/**
 * `greedy` units have larger caches, keep large pages in fractions, believe that a right is missing and, with CAP.CM, keep
 * what faults; and what is invalidated stays until somebody waits for it.
 */
const POLICIES: Readonly<Record<CachePolicy, Defaults>> = {
  off: { leaves: NO_CACHE, tables: NO_CACHE, contexts: 0, pasids: 0 },
  minimal: { leaves: ONE, tables: ONE, contexts: 1, pasids: 1 },
  hardware: HARDWARE,
  greedy: { leaves: GREEDY, tables: { entries: 4096, ways: 8 }, contexts: 4096, pasids: 4096 },
  random: HARDWARE,
}

/** Settles what options leave open. */
export function planCaches(options: CacheOptions = {}): CachePlan {
  const policy = options.policy ?? 'hardware'
  const { leaves, tables, contexts, pasids } = POLICIES[policy]
  const isGreedy = policy === 'greedy'
  const isRandom = (options.replacement ?? policy) === 'random'
  return {
    contextEntries: options.contextEntries ?? contexts,
    pasidEntries: options.pasidEntries ?? pasids,
    iotlb: options.iotlb ?? leaves,
    walk1: options.walk1 ?? tables,
    walk2: options.walk2 ?? tables,
    permissions: options.permissions ?? options.iotlb ?? leaves,
    faults: options.faults ?? isGreedy,
    isStrict: options.rights === undefined ? isGreedy : options.rights === 'strict',
    fractions: options.fractions ?? isGreedy,
    chance: isRandom ? new Chance(options.seed ?? 0) : null,
    names: options.names ?? NAMES,
    isWide: options.invalidation === 'wide',
    isLate: options.invalidation === undefined ? isGreedy : options.invalidation === 'late',
  }
}

/** An IOTLB of one size; where that is nothing, tables are not kept either. */
export function cachesOfSize(geometry: CacheGeometry): CacheOptions {
  return geometry.entries === 0 ? { iotlb: geometry, walk1: NO_CACHE, walk2: NO_CACHE } : { iotlb: geometry }
}
