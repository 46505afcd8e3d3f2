/**
 * The TLB and the IPA cache. An entry is tagged with what the manual says and nothing else: its StreamWorld, which the
 * tag space tells with the VMID, and ASID, or ASET for a global one; SID and SSID are no tags, so two streams that
 * share an ASID share entries.
 * [SMMU 3.17 TLB tagging, VMIDs, ASIDs and StreamWorlds]
 *
 * VA-keyed entries may be combined from both stages; IPA-keyed ones hold stage 2 alone. CMD_TLBI_S2_IPA reaches only
 * the latter, as the manual allows, so that software which forgets the former sees what it forgot.
 */

import type { Page } from '../bits/address.js'
import { TagTable } from '../cache/tag-table.js'
import { type CacheGeometry, MISS, TranslationCache } from '../cache/translation-cache.js'
import type { ContextConfig } from './decode-cd.js'
import { isVmid, SPACE } from './stream-world.js'

/** Where the parts of an entry's flags stand. */
export const TLB_FLAGS = {
  /** Stage 1 rights [8:0], stage 2 rights [17:9]. */
  STAGE_2_SHIFT: 9,
  /** Granule as commands code it (TG), [19:18]. */
  TG_SHIFT: 18,
  TG_MASK: 3 << 18,
  /** Level as commands code it (TTL), [21:20]; level 0 has no code and stands as 0. */
  TTL_SHIFT: 20,
  TTL_MASK: 3 << 20,
} as const

/** Names of VA tags: space * 2^18 + ASID, or + GLOBAL + ASET. */
const SPACE_UNIT = 2 ** 18
const GLOBAL = 2 ** 17

/** Tags kept at once; more than a guest's ASIDs in flight. When they are used up everything is forgotten. */
const TAGS = 8192
const SPACES = 1024

/** Granule as commands and entries code it: 1, 2, 3 for 4, 16 and 64 KiB. */
export const tgOf = (granuleLg2: number): number => (granuleLg2 - 10) >>> 1

/** The part of the flags that says which granule and level an entry has. `level` is the walker's. */
export const geometryFlags = (granuleLg2: number, level: number): number =>
  (tgOf(granuleLg2) << TLB_FLAGS.TG_SHIFT) | (((3 - level) & 3) << TLB_FLAGS.TTL_SHIFT)

/** A cache without entries. */
const NOTHING: CacheGeometry = { entries: 0, ways: 1 }

/** Tag spaces that a command means: one, or with VMID wildcards a block of them. [SMMU 3.17.6 VMID Wildcards] */
export interface Spaces {
  readonly first: number
  readonly last: number
}

/** Which entries a command by address means. */
export interface AddressScope {
  readonly first: Page
  readonly last: Page
  /** Bits of the flags that must match, and their values; 0 for any granule and level. */
  readonly mask: number
  readonly want: number
}

/** Both caches with their tags. */
export class Tlb {
  /** Keyed by VA. */
  readonly va: TranslationCache
  /** Keyed by IPA. */
  readonly ipa: TranslationCache
  /** Moves on when tag numbers were handed out anew. */
  epoch = 0

  readonly #tags: TagTable
  readonly #groups: TagTable
  readonly #ipaTags: TagTable
  readonly #noGroups: TagTable

  /** The context that a view was last asked for, and its tag space. */
  asked: ContextConfig | null = null
  askedSpace = 0

  readonly #isView: boolean

  /** @param shown the TLB whose tags and entries are shown, for `view` */
  constructor(geometry: CacheGeometry, shown: Tlb | null = null, keepsVa = false, keepsIpa = false) {
    this.#isView = shown !== null
    this.epoch = shown?.epoch ?? 0
    const restart = (): void => {
      this.epoch++
      this.dropAll()
    }
    this.#tags = shown === null ? new TagTable(TAGS, restart) : shown.#tags
    this.#groups = shown === null ? new TagTable(SPACES, restart) : shown.#groups
    this.#ipaTags = shown === null ? new TagTable(SPACES, restart) : shown.#ipaTags
    this.#noGroups = shown === null ? new TagTable(1, restart) : shown.#noGroups
    const va = keepsVa ? shown?.va.view() : undefined
    const ipa = keepsIpa ? shown?.ipa.view() : undefined
    this.va = va ?? new TranslationCache(geometry, this.#tags, this.#groups)
    this.ipa = ipa ?? new TranslationCache(geometry, this.#ipaTags, this.#noGroups)
  }

  /** This moment's entries of either cache, or none, to look at only. Its contexts are copies: they get its tags. */
  view(keepsVa: boolean, keepsIpa: boolean): Tlb {
    return new Tlb(NOTHING, this, keepsVa, keepsIpa)
  }

  /** Makes sure that a context's tag numbers are of this epoch. */
  tagContext(context: ContextConfig, space: number): void {
    if (this.#isView) {
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

  /** The entry for a VA: of the context's own ASID, or a global one of its ASID set. */
  findVa(context: ContextConfig, page: Page): number {
    const own = this.va.find(context.tag, page)
    return own !== MISS ? own : this.va.find(context.globalTag, page)
  }

  /** Tag number of a VMID's stage 2. */
  ipaTag(vmid: number): number {
    return this.#number(this.#ipaTags, vmid)
  }

  /** Every VA-keyed entry of some spaces. [SMMU 4.4.2.1 CMD_TLBI_NH_ALL] */
  dropStageOne({ first, last }: Spaces): void {
    for (let space = first; space <= last; space++) drop(this.#groups, space)
  }

  /** The non-global entries of an ASID. [SMMU 4.4.2.2 CMD_TLBI_NH_ASID] [SMMU 4.4.2.10 CMD_TLBI_EL2_ASID] */
  dropAsid({ first, last }: Spaces, asid: number): void {
    for (let space = first; space <= last; space++) drop(this.#tags, space * SPACE_UNIT + asid)
  }

  /** An ASID's entries and the global ones, by address. [SMMU 4.4.2.4 CMD_TLBI_NH_VA] [SMMU 4.4.2.8 CMD_TLBI_EL2_VA] */
  dropVa({ first, last }: Spaces, asid: number, scope: AddressScope): void {
    for (let space = first; space <= last; space++) {
      for (const name of [asid, GLOBAL, GLOBAL + 1]) {
        const tag = this.#tags.lookup(space * SPACE_UNIT + name)
        if (tag >= 0) this.va.dropTagPages(tag, scope.first, scope.last, scope.mask, scope.want)
      }
    }
  }

  /** Entries of every ASID, by address. [SMMU 4.4.2.3 CMD_TLBI_NH_VAA] [SMMU 4.4.2.9 CMD_TLBI_EL2_VAA] */
  dropVaa({ first, last }: Spaces, scope: AddressScope): void {
    for (let space = first; space <= last; space++) {
      const group = this.#groups.lookup(space)
      if (group >= 0) this.va.dropGroupPages(group, scope.first, scope.last, scope.mask, scope.want)
    }
  }

  /** Stage 2 entries of some VMIDs, by address. [SMMU 4.4.3.1 CMD_TLBI_S2_IPA] */
  dropIpa({ first, last }: Spaces, scope: AddressScope): void {
    for (let vmid = first; vmid <= last; vmid++) {
      const tag = this.#ipaTags.lookup(vmid)
      if (tag >= 0) this.ipa.dropTagPages(tag, scope.first, scope.last, scope.mask, scope.want)
    }
  }

  /** Every entry of some VMIDs, of either stage. [SMMU 4.4.3.2 CMD_TLBI_S12_VMALL] */
  dropVmids(vmids: Spaces): void {
    this.dropStageOne(vmids)
    for (let vmid = vmids.first; vmid <= vmids.last; vmid++) drop(this.#ipaTags, vmid)
  }

  /** Every entry of NS-EL1, of either stage; those of EL2 stay. [SMMU 4.4.4.1 CMD_TLBI_NSNH_ALL] */
  dropEl1(): void {
    for (let group = 0; group < this.#groups.count; group++) {
      if (isVmid(this.#groups.nameOf(group))) this.#groups.drop(group)
    }
    this.ipa.dropAll()
  }

  /** Every entry of the worlds without VMIDs. [SMMU 4.4.2.7 CMD_TLBI_EL2_ALL] */
  dropEl2(): void {
    this.dropStageOne({ first: SPACE.EL2, last: SPACE.EL2_E2H })
  }

  /** Everything. */
  dropAll(): void {
    this.va.dropAll()
    this.ipa.dropAll()
  }

  /** A view hands out no numbers; -1 finds nothing. */
  #number(table: TagTable, name: number): number {
    return this.#isView ? table.lookup(name) : table.intern(name)
  }
}

/** Forgets what was stored under a name, if anything was. */
function drop(table: TagTable, name: number): void {
  const number = table.lookup(name)
  if (number >= 0) table.drop(number)
}
