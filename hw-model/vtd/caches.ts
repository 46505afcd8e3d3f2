/** All caches of a unit, and what is counted of them. [VTD 6.2 Address Translation Caches] */

import { ConfigCache } from '../cache/config-cache.js'
import type { CacheStatistics } from '../port.js'
import { type CachePlan, planCaches } from './cache-options.js'
import type { Capabilities } from './capabilities.js'
import type { ContextConfig, DmaConfig } from './dma-config.js'
import { HptCache } from './hpt-cache.js'
import { Iotlb } from './iotlb.js'
import { TableCaches } from './table-caches.js'

/** The caches, each separate from the others: none is dropped for what happens to another. */
export class Caches {
  plan: CachePlan
  /** By source-id. [VTD 6.2.2 Context-Cache] */
  contexts: ConfigCache<ContextConfig>
  /** By source-id and PASID, that of RID_PASID for requests without. [VTD 6.2.3 PASID-Cache] */
  pasids: ConfigCache<DmaConfig>
  readonly iotlb: Iotlb
  readonly tables: TableCaches
  /** What faulted is kept: there is caching mode, and the unit makes use of it. [VTD 6.1 Caching Mode] */
  keepsFaults: boolean

  /** What translated requests may reach; null on a unit without host permission tables. */
  readonly permissions: HptCache | null
  readonly #caps: Capabilities | null

  /** @param shown whose entries are shown, for `view` */
  constructor(plan: CachePlan, caps: Capabilities | null, shown: Caches | null = null) {
    const { contextEntries, pasidEntries, chance } = plan
    this.plan = plan
    this.#caps = caps
    this.keepsFaults = this.#mayKeepFaults(plan)
    const hasPermissions = caps === null || caps.ecap.HPTS !== 0
    this.permissions =
      shown?.permissions?.view() ?? (hasPermissions ? new HptCache(plan.permissions, plan.names) : null)
    this.contexts = shown?.contexts.view() ?? new ConfigCache(contextEntries, chance)
    this.pasids = shown?.pasids.view() ?? new ConfigCache(pasidEntries, chance)
    this.iotlb = shown?.iotlb.view(plan) ?? new Iotlb(plan)
    this.tables = shown?.tables.view(plan) ?? new TableCaches(plan)
  }

  /** This moment's entries: nothing can be kept there, and what is dropped there stays here. */
  view(): Caches {
    return new Caches(this.plan, this.#caps, this)
  }

  /** New caches, all empty. */
  replan(plan: CachePlan): void {
    this.plan = plan
    this.keepsFaults = this.#mayKeepFaults(plan)
    this.contexts = new ConfigCache(plan.contextEntries, plan.chance)
    this.pasids = new ConfigCache(plan.pasidEntries, plan.chance)
    this.iotlb.replan(plan)
    this.tables.replan(plan)
    this.permissions?.replan(plan.permissions)
  }

  #mayKeepFaults(plan: CachePlan): boolean {
    return plan.faults && this.#caps !== null && this.#caps.cap.CM !== 0
  }

  /** Moves on whenever the context cache or the PASID cache loses anything. */
  get configGeneration(): number {
    return this.contexts.generation + this.pasids.generation
  }

  /** Everything. */
  dropAll(): void {
    this.contexts.clear()
    this.pasids.clear()
    this.iotlb.cache.dropAll()
    this.tables.dropAll()
    this.permissions?.dropAll()
  }

  /** What each cache has done so far; the IOTLB's share is what the pipeline has counted. */
  statistics({ hits, misses }: { readonly hits: number; readonly misses: number }): readonly CacheStatistics[] {
    const { contexts, pasids, iotlb, tables, permissions } = this
    return [
      contexts.statistics('context'),
      pasids.statistics('pasid'),
      { ...iotlb.cache.statistics('iotlb'), hits, misses },
      tables.first.statistics('walk1'),
      tables.second.statistics('walk2'),
      ...(permissions === null ? [] : [permissions.cache.statistics('hpt')]),
    ]
  }

  get evictions(): number {
    const { contexts, pasids, iotlb, tables } = this
    return (
      contexts.evictions + pasids.evictions + iotlb.cache.evictions + tables.first.evictions + tables.second.evictions
    )
  }
}

/** Holds nothing and keeps nothing. */
export const NO_CACHES = new Caches(planCaches({ policy: 'off' }), null).view()
