/**
 * The TLB, the IPA cache and the walk caches. An entry is tagged with what the manual says and nothing else: its
 * StreamWorld, which the tag space tells with the VMID, and ASID, or ASET for a global one; SID and SSID are no tags, so
 * two streams that share an ASID share entries.
 * [SMMU 3.17 TLB tagging, VMIDs, ASIDs and StreamWorlds]
 *
 * VA-keyed entries may be combined from both stages; IPA-keyed ones hold stage 2 alone. CMD_TLBI_S2_IPA reaches only
 * the latter, as the manual allows, so that software which forgets the former sees what it forgot. Table entries are
 * tagged as the leaves of their stage, and dropped with them; by address they are dropped where a command asks for it.
 */

import { highHalf, type Page } from '../bits/address.js'
import type { Chance } from '../cache/chance.js'
import type { CacheGeometry } from '../cache/geometry.js'
import { REGION } from '../cache/layout.js'
import { TagTable } from '../cache/tag-table.js'
import { MISS, TranslationCache } from '../cache/translation-cache.js'
import type { CacheStatistics } from '../port.js'
import { type CachePlan, planCaches } from './cache-options.js'
import type { ContextConfig } from './decode-cd.js'
import type { StageTwoConfig } from './decode-ste.js'
import { isVmid, SPACE } from './stream-world.js'
import type { AddressScope } from './tlb-flags.js'

/** A view keeps nothing of its own. */
const OFF = planCaches({ policy: 'off' })

/** Names of VA tags: space * 2^18 + ASID, or + GLOBAL + ASET. */
const SPACE_LG2 = 18
const SPACE_UNIT = 2 ** SPACE_LG2
const GLOBAL = 2 ** 17

/** Tag spaces that a command means: one, or with VMID wildcards a block of them. [SMMU 3.17.6 VMID Wildcards] */
export interface Spaces {
  readonly first: number
  readonly last: number
}

/** Which caches a view shows. */
export interface Shown {
  readonly va: boolean
  readonly ipa: boolean
  readonly walk1: boolean
  readonly walk2: boolean
}

/** Shows nothing. */
const NONE: Shown = { va: false, ipa: false, walk1: false, walk2: false }

/** The caches with their tags. */
export class Tlb {
  /** Keyed by VA. */
  va: TranslationCache
  /** Keyed by IPA. */
  ipa: TranslationCache
  /** Table entries of stage 1, and of stage 2. */
  walk1: TranslationCache
  walk2: TranslationCache
  /** A leaf with the Contiguous bit is kept as its whole span. */
  spans = false
  /** A leaf is kept too where it denies the access. */
  denials = false
  /** Commands drop all that they may. */
  isWide = false
  /** Moves on when tag numbers were handed out anew. */
  epoch = 0

  readonly #tags: TagTable
  readonly #groups: TagTable
  readonly #ipaTags: TagTable
  readonly #noGroups: TagTable

  /** The context that a view was last asked for, and its tag space. */
  asked: ContextConfig | null = null
  askedSpace = 0
  /** The VMID whose stage 2 a view was last asked for; -1 for none. */
  askedVmid = -1

  /** Shows the caches of another. */
  readonly isView: boolean

  /** @param shown the TLB whose tags and entries are shown, for `view` */
  constructor(plan: CachePlan, shown: Tlb | null = null, which: Shown = NONE) {
    this.isView = shown !== null
    this.#behaveAs(plan)
    this.epoch = shown?.epoch ?? 0
    const restart = (): void => {
      this.epoch++
      this.dropAll()
    }
    this.#tags = shown === null ? new TagTable(plan.names, restart) : shown.#tags
    this.#groups = shown === null ? new TagTable(plan.names, restart) : shown.#groups
    this.#ipaTags = shown === null ? new TagTable(plan.names, restart) : shown.#ipaTags
    this.#noGroups = shown === null ? new TagTable(1, restart) : shown.#noGroups
    const { chance } = plan
    this.va = (which.va ? shown?.va.view() : undefined) ?? this.#byVa(plan.tlb, chance)
    this.ipa = (which.ipa ? shown?.ipa.view() : undefined) ?? this.#byIpa(plan.ipa, chance, false)
    this.walk1 = (which.walk1 ? shown?.walk1.view() : undefined) ?? this.#byVa(plan.walk1, chance)
    this.walk2 = (which.walk2 ? shown?.walk2.view() : undefined) ?? this.#byIpa(plan.walk2, chance, true)
  }

  /** New caches, all empty. Numbers of tags stay what they are. */
  replan(plan: CachePlan): void {
    this.#behaveAs(plan)
    this.va = this.#byVa(plan.tlb, plan.chance)
    this.ipa = this.#byIpa(plan.ipa, plan.chance, false)
    this.walk1 = this.#byVa(plan.walk1, plan.chance)
    this.walk2 = this.#byIpa(plan.walk2, plan.chance, true)
  }

  #behaveAs({ contiguous, denials, isWide }: CachePlan): void {
    this.spans = contiguous
    this.denials = denials
    this.isWide = isWide
  }

  #byVa(geometry: CacheGeometry, chance: Chance | null): TranslationCache {
    return new TranslationCache(geometry, this.#tags, this.#groups, { chance })
  }

  #byIpa(geometry: CacheGeometry, chance: Chance | null, extras: boolean): TranslationCache {
    return new TranslationCache(geometry, this.#ipaTags, this.#noGroups, { chance, extras })
  }

  /** This moment's entries of some caches, to look at only. Its contexts are copies: they get its tags. */
  view(which: Shown): Tlb {
    return new Tlb(OFF, this, which)
  }

  /** What each cache has done so far. */
  get statistics(): readonly CacheStatistics[] {
    const { va, ipa, walk1, walk2 } = this
    return [va.statistics('tlb'), ipa.statistics('ipa'), walk1.statistics('walk1'), walk2.statistics('walk2')]
  }

  get evictions(): number {
    return this.va.evictions + this.ipa.evictions + this.walk1.evictions + this.walk2.evictions
  }

  /** Makes sure that a context's tag numbers are of this epoch. */
  tagContext(context: ContextConfig, space: number): void {
    if (this.isView) {
      this.asked = context
      this.askedSpace = space
    }
    // Handing out a number may start a new epoch, which voids those before it.
    while (context.tagEpoch !== this.epoch) {
      context.tagEpoch = this.epoch
      context.globalTag = this.#number(this.#tags, space * SPACE_UNIT + GLOBAL + context.aset)
      // Without ASIDs everything is global.
      context.tag = context.isHyp ? context.globalTag : this.#number(this.#tags, space * SPACE_UNIT + context.asid)
      context.group = this.#number(this.#groups, space)
    }
  }

  /**
   * The entry for a VA: of the context's own ASID, or a global one of its ASID set.
   *
   * @param lo a page's low 32 bits
   * @param hi the 20 above them
   */
  findVaAt(context: ContextConfig, lo: number, hi: number): number {
    const own = this.va.findAt(context.tag, lo, hi)
    return own >= 0 ? own : this.va.findAt(context.globalTag, lo, hi) | 0
  }

  /** The entry for a VA that an ASID of a tag space would be answered from, or MISS; of globals, of either ASID set. */
  findNamed(space: number, asid: number, page: Page): number {
    for (const name of [asid, GLOBAL, GLOBAL + 1]) {
      const tag = this.#tags.lookup(space * SPACE_UNIT + name)
      const slot = tag < 0 ? MISS : this.va.find(tag, page)
      if (slot !== MISS) return slot
    }
    return MISS
  }

  /** The entry for an IPA of a VMID, or MISS. */
  findIpa(vmid: number, page: Page): number {
    const tag = this.#ipaTags.lookup(vmid)
    return tag < 0 ? MISS : this.ipa.find(tag, page)
  }

  /** Tag number of a VMID's stage 2. A view writes nothing into what it is shown. */
  ipaTag(config: StageTwoConfig): number {
    if (this.isView) {
      this.askedVmid = config.vmid
      return this.#ipaTags.lookup(config.vmid)
    }
    while (config.tagEpoch !== this.epoch) {
      config.tagEpoch = this.epoch
      config.tag = this.#ipaTags.intern(config.vmid)
    }
    return config.tag
  }

  /** Every VA-keyed entry of some spaces. [SMMU 4.4.2.1 CMD_TLBI_NH_ALL] */
  dropStageOne({ first, last }: Spaces): void {
    for (let space = first; space <= last; space++) this.#dropGroup(this.#groups.lookup(space))
  }

  /** The non-global entries of an ASID. [SMMU 4.4.2.2 CMD_TLBI_NH_ASID] [SMMU 4.4.2.10 CMD_TLBI_EL2_ASID] */
  dropAsid({ first, last }: Spaces, asid: number): void {
    for (let space = first; space <= last; space++) {
      const tag = this.#tags.lookup(space * SPACE_UNIT + asid)
      this.va.dropTag(tag)
      this.walk1.dropTag(tag)
    }
  }

  /** An ASID's entries and the global ones, by address. [SMMU 4.4.2.4 CMD_TLBI_NH_VA] [SMMU 4.4.2.8 CMD_TLBI_EL2_VA] */
  dropVa({ first, last }: Spaces, asid: number, scope: AddressScope): void {
    for (let space = first; space <= last; space++) {
      this.#dropVaOf(space, asid, scope)
      this.#dropVaOf(space, GLOBAL, scope)
      this.#dropVaOf(space, GLOBAL + 1, scope)
    }
  }

  /** @param name an ASID, or a global one's */
  #dropVaOf(space: number, name: number, scope: AddressScope): void {
    const tag = this.#tags.lookupHalves((space << SPACE_LG2) | name, space >>> (32 - SPACE_LG2))
    if (tag >= 0) dropPages(this.va, this.walk1, tag, scope)
  }

  /** Entries of every ASID, by address. [SMMU 4.4.2.3 CMD_TLBI_NH_VAA] [SMMU 4.4.2.9 CMD_TLBI_EL2_VAA] */
  dropVaa({ first, last }: Spaces, scope: AddressScope): void {
    const groups: number[] = []
    for (let space = first; space <= last; space++) groups.push(this.#groups.lookup(space))
    if (!groups.some(isKnown)) return
    this.va.dropGroupPages(groups, scope.first, scope.last, scope.leaves)
    if (scope.tables !== null) this.walk1.dropGroupPages(groups, scope.first, scope.last, scope.tables)
  }

  /** Stage 2 entries of some VMIDs, by address. [SMMU 4.4.3.1 CMD_TLBI_S2_IPA] */
  dropIpa({ first, last }: Spaces, scope: AddressScope): void {
    for (let vmid = first; vmid <= last; vmid++) {
      const tag = this.#ipaTags.lookup(vmid)
      if (tag >= 0) dropPages(this.ipa, this.walk2, tag, scope)
    }
  }

  /** Every entry of some VMIDs, of either stage. [SMMU 4.4.3.2 CMD_TLBI_S12_VMALL] */
  dropVmids(vmids: Spaces): void {
    this.dropStageOne(vmids)
    for (let vmid = vmids.first; vmid <= vmids.last; vmid++) {
      const tag = this.#ipaTags.lookup(vmid)
      this.ipa.dropTag(tag)
      this.walk2.dropTag(tag)
    }
  }

  /** Every entry of NS-EL1, of either stage; those of EL2 stay. [SMMU 4.4.4.1 CMD_TLBI_NSNH_ALL] */
  dropEl1(): void {
    for (let group = 0; group < this.#groups.count; group++) {
      if (isVmid(this.#groups.nameOf(group))) this.#dropGroup(group)
    }
    this.ipa.dropAll()
    this.walk2.dropAll()
  }

  /** Every entry of the worlds without VMIDs. [SMMU 4.4.2.7 CMD_TLBI_EL2_ALL] */
  dropEl2(): void {
    this.dropStageOne({ first: SPACE.EL2, last: SPACE.EL2_E2H })
  }

  /** Everything. */
  dropAll(): void {
    for (const cache of [this.va, this.ipa, this.walk1, this.walk2]) cache.dropAll()
  }

  #dropGroup(group: number): void {
    this.va.dropGroup(group)
    this.walk1.dropGroup(group)
  }

  /** A view hands out no numbers; -1 finds nothing. */
  #number(table: TagTable, name: number): number {
    return this.isView ? table.lookup(name) : table.intern(name)
  }
}

/** Drops leaves and tables of a tag by address. */
function dropPages(leaves: TranslationCache, tables: TranslationCache, tag: number, scope: AddressScope): void {
  const { first, last } = scope
  const pages = last - first + 1
  if (pages > REGION) {
    leaves.dropTagPages(tag, first, last, scope.leaves)
    if (scope.tables !== null) tables.dropTagPages(tag, first, last, scope.tables)
    return
  }
  const [lo, hi] = [first | 0, highHalf(first)]
  leaves.dropTagAt(tag, lo, hi, pages, scope.leaves)
  if (scope.tables !== null) tables.dropTagAt(tag, lo, hi, pages, scope.tables)
}

const isKnown = (number: number): boolean => number >= 0
