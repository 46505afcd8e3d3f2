/**
 * From a source-id and a PASID to what governs the request: root, context, PASID directory and PASID table entry, each
 * checked in the order fetch, present, reserved, valid; the context cache and the PASID cache.
 * [VTD 3.4.2 Legacy Mode Address Translation, 3.4.3 Scalable Mode Address Translation]
 *
 * Decoded entries are made only when one is read from memory; a request that finds them cached allocates nothing.
 */

import { anySet } from '../bits/layout.js'
import type { Memory } from '../memory/memory.js'
import type { WalkTrace } from '../port.js'
import type { Caches } from './caches.js'
import type { Capabilities } from './capabilities.js'
import { type ContextConfig, contextConfig, type DmaConfig, dmaConfig, faultyDma, pasidFor } from './dma-config.js'
import { EntryReader, type RecordReads } from './entry-reader.js'
import { REASON } from './faults.js'
import {
  CONTEXT_ENTRY,
  FSPM,
  PASID_DIRECTORY_ENTRY,
  PASID_TABLE_ENTRY,
  PGTT,
  ROOT_ENTRY,
  SCALABLE_CONTEXT_ENTRY,
  SCALABLE_ROOT_ENTRY,
  TT,
} from './records.js'
import { ReservedMasks } from './reserved.js'

/**
 * Whether AW is a reserved field of a unit without a second stage. Linux writes it into first-stage entries on such
 * units too, so it is ignored there. [VTD 9.6]
 */
const AW_IS_RESERVED_WITHOUT_SSTS = false

/** Bits of an address in the smallest host permission table, whose root has 4 KiB. [VTD 9.6 HPTSZ] */
const HPT_BITS = 49

/** Keys of the PASID cache: PASID * 2^16 + source-id. Those of small PASIDs are small integers to the engine too. */
const PASID_KEY = 2 ** 16

/** Sees what is found in a cache. */
export interface ConfigTrace {
  foundContext(context: ContextConfig): void
  foundPasid(config: DmaConfig): void
}

/** Reads configuration; `reason` and `fpd` say why it could not. */
export class ConfigReader {
  /** Why the last read failed; one of REASON. */
  reason = 0
  /** FPD of the entries that the request in hand has met. */
  fpd = 0
  /** Root table address and mode, latched by SRTP. */
  rootTable = 0
  isScalable = false
  /** Shows every entry that is found in a cache. */
  found: ConfigTrace | null = null
  /** Entries that had to be read from memory. */
  reads = 0

  readonly #caches: Caches
  readonly #memory: Memory
  readonly #caps: Capabilities
  readonly #masks: ReservedMasks
  readonly #entry: EntryReader

  /** What is wrong with the context entry in hand is not met by requests that PASIDE blocks. */
  #isBehindPaside = false

  constructor(
    memory: Memory,
    caps: Capabilities,
    caches: Caches,
    masks = new ReservedMasks(caps, AW_IS_RESERVED_WITHOUT_SSTS),
  ) {
    this.#memory = memory
    this.#entry = new EntryReader(memory)
    this.#caps = caps
    this.#masks = masks
    this.#caches = caches
  }

  /** Shows every entry that is read. */
  set trace(trace: WalkTrace) {
    this.#entry.trace = trace
  }

  /** Is given the words of every entry that is read. */
  set onRecord(reads: RecordReads) {
    this.#entry.reads = reads
  }

  /** The same root table, over other caches. */
  over(caches: Caches): ConfigReader {
    const other = new ConfigReader(this.#memory, this.#caps, caches, this.#masks)
    other.rootTable = this.rootTable
    other.isScalable = this.isScalable
    return other
  }

  /**
   * The context entry of a source-id, or null with `reason` and `fpd`.
   *
   * @param meetsPaside whether PASIDE=0 blocks the request: it has a PASID, and its address is not translated already
   */
  context(sid: number, meetsPaside: boolean): ContextConfig | null {
    const { contexts, keepsFaults } = this.#caches
    const cached = contexts.get(sid)
    if (cached !== undefined) {
      if (this.found !== null) this.found.foundContext(cached)
      this.fpd = cached.fpd
      this.reason = meetsPaside ? cached.pasidFault : cached.fault
      return this.reason === REASON.NONE ? cached : null
    }
    this.reads++
    this.fpd = 0
    this.#isBehindPaside = false
    const context = this.isScalable ? this.#scalableContext(sid, meetsPaside) : this.#legacyContext(sid)
    if (context !== null) contexts.set(sid, context)
    else if (keepsFaults) contexts.set(sid, this.#faultyContext(sid))
    return context
  }

  /** Domain-id 0 is reserved for what faulted. [VTD 6.2.2 Context-Cache] */
  #faultyContext(sid: number): ContextConfig {
    const fault = this.#isBehindPaside ? REASON.SCT_4 : this.reason
    const pasidFault = this.#isBehindPaside ? REASON.SCT_6 : this.reason
    return contextConfig(sid, this.fpd, { fault, pasidFault })
  }

  /**
   * The PASID table entry that governs a request, or null with `reason` and `fpd`.
   *
   * @param requested the request's PASID, below the context's limit, or NO_PASID
   */
  pasidEntry(context: ContextConfig, requested: number): DmaConfig | null {
    const { pasids, keepsFaults } = this.#caches
    const pasid = pasidFor(context, requested)
    const key = pasid * PASID_KEY + context.sid
    const cached = pasids.get(key)
    if (cached !== undefined) {
      if (this.found !== null) this.found.foundPasid(cached)
      this.fpd = cached.fpd
      this.reason = cached.fault
      return this.reason === REASON.NONE ? cached : null
    }
    this.reads++
    const config = this.#readPasidEntry(context, pasid)
    if (config !== null) pasids.set(key, config)
    else if (keepsFaults) pasids.set(key, faultyDma(pasid, this.fpd, this.reason))
    return config
  }

  #readPasidEntry(context: ContextConfig, pasid: number): DmaConfig | null {
    const words = this.#entry.words
    this.fpd = context.fpd
    // The directory. [VTD 9.5]
    const slot = context.directory + (pasid >>> 6) * PASID_DIRECTORY_ENTRY.$.bytes
    if (!this.#entry.load(PASID_DIRECTORY_ENTRY, slot)) return this.#fail(REASON.SPD_1)
    this.fpd |= PASID_DIRECTORY_ENTRY.FPD.get(words, 0)
    if (PASID_DIRECTORY_ENTRY.P.get(words, 0) === 0) return this.#fail(REASON.SPD_2)
    if (anySet(words, 0, this.#masks.directory)) return this.#fail(REASON.SPD_3)
    // The table. [VTD 9.6]
    const table = PASID_DIRECTORY_ENTRY.SMPTBLPTR.get(words, 0)
    this.#entry.show('PASID table', table)
    if (!this.#entry.load(PASID_TABLE_ENTRY, table + (pasid & 63) * PASID_TABLE_ENTRY.$.bytes))
      return this.#fail(REASON.SPT_1)
    this.fpd |= PASID_TABLE_ENTRY.FPD.get(words, 0)
    if (PASID_TABLE_ENTRY.P.get(words, 0) === 0) return this.#fail(REASON.SPT_2)
    if (anySet(words, 0, this.#masks.pasidEntry)) return this.#fail(REASON.SPT_3)
    return this.#decodePasidEntry(pasid)
  }

  /** [VTD 9.1, 9.3] */
  #legacyContext(sid: number): ContextConfig | null {
    const words = this.#entry.words
    if (!this.#entry.load(ROOT_ENTRY, this.rootTable + (sid >>> 8) * ROOT_ENTRY.$.bytes))
      return this.#fail(REASON.LRT_1)
    if (ROOT_ENTRY.P.get(words, 0) === 0) return this.#fail(REASON.LRT_2)
    if (anySet(words, 0, this.#masks.root)) return this.#fail(REASON.LRT_3)
    const table = ROOT_ENTRY.CTP.get(words, 0)
    this.#entry.show('context table', table)
    if (!this.#entry.load(CONTEXT_ENTRY, table + (sid & 0xff) * CONTEXT_ENTRY.$.bytes)) return this.#fail(REASON.LCT_1)
    this.fpd = CONTEXT_ENTRY.FPD.get(words, 0)
    if (CONTEXT_ENTRY.P.get(words, 0) === 0) return this.#fail(REASON.LCT_2)
    if (anySet(words, 0, this.#masks.context)) return this.#fail(REASON.LCT_3)
    const aw = CONTEXT_ENTRY.AW.get(words, 0)
    const tt = CONTEXT_ENTRY.TT.get(words, 0)
    // AW first, then TT. [VTD 7.1.3 LCT.4.1, LCT.4.2]
    if (!this.#hasWidth(aw)) return this.#fail(REASON.LCT_4)
    if (!this.#hasTranslationType(tt)) return this.#fail(REASON.LCT_4)
    const did = CONTEXT_ENTRY.DID.get(words, 0)
    const dma = dmaConfig(tt === TT.PASS_THROUGH ? PGTT.PASS_THROUGH : PGTT.SECOND, did, 0, this.fpd, {
      isLegacy: true,
      secondTable: CONTEXT_ENTRY.SSPTPTR.get(words, 0),
      secondLevels: aw + 2,
      secondBits: this.#secondBits(aw),
      // Legacy mode has no access or dirty flags and no supervisor requests, so nothing is ever refused for them.
      sre: true,
    })
    this.#entry.showDma(dma)
    return contextConfig(sid, this.fpd, { did, tt, dma })
  }

  /** [VTD 9.2, 9.4] */
  #scalableContext(sid: number, meetsPaside: boolean): ContextConfig | null {
    const words = this.#entry.words
    const devfn = sid & 0xff
    const isUpper = devfn >= 128
    if (!this.#entry.load(SCALABLE_ROOT_ENTRY, this.rootTable + (sid >>> 8) * SCALABLE_ROOT_ENTRY.$.bytes)) {
      return this.#fail(REASON.SRT_1)
    }
    const { LP, UP, LCTP, UCTP } = SCALABLE_ROOT_ENTRY
    if ((isUpper ? UP : LP).get(words, 0) === 0) return this.#fail(REASON.SRT_2)
    if (this.#masks.scalableRootIsBad(words)) return this.#fail(REASON.SRT_3)
    const table = (isUpper ? UCTP : LCTP).get(words, 0)
    this.#entry.show('context table', table)
    const entry = table + (devfn & 0x7f) * SCALABLE_CONTEXT_ENTRY.$.bytes
    if (!this.#entry.load(SCALABLE_CONTEXT_ENTRY, entry)) return this.#fail(REASON.SCT_1)
    const { P, FPD, DTE, PASIDE, PRE, HPTE, EPTR, PDTS, PASIDDIRPTR, RID_PASID, RID_PRIV } = SCALABLE_CONTEXT_ENTRY
    this.fpd = FPD.get(words, 0)
    if (P.get(words, 0) === 0) return this.#fail(REASON.SCT_2)
    if (anySet(words, 0, this.#masks.scalableContext)) return this.#fail(REASON.SCT_3)
    const pasidLimit = 2 ** (PDTS.get(words, 0) + 13)
    const ridPasid = RID_PASID.get(words, 0)
    const deviceTlbEnabled = DTE.get(words, 0) !== 0
    const pasidEnabled = PASIDE.get(words, 0) !== 0
    const pageRequestEnabled = PRE.get(words, 0) !== 0
    const translatedPasidEnabled = EPTR.get(words, 0) !== 0
    // What contradicts itself. [VTD 7.1.3 SCT.4.1, SCT.4.2, SCT.4.3]
    if (pageRequestEnabled && !deviceTlbEnabled) return this.#fail(REASON.SCT_4)
    if (ridPasid >= pasidLimit) return this.#fail(REASON.SCT_4)
    // Whom PASIDE itself blocks does not meet the third. [VTD 7.1.3 SCT.6]
    this.#isBehindPaside = translatedPasidEnabled && !pasidEnabled
    if (this.#isBehindPaside) return this.#fail(meetsPaside ? REASON.SCT_6 : REASON.SCT_4)
    const directory = PASIDDIRPTR.get(words, 0)
    this.#entry.show('PASID directory', directory)
    return contextConfig(sid, this.fpd, {
      deviceTlbEnabled,
      pasidEnabled,
      pageRequestEnabled,
      translatedPasidEnabled,
      hostPermissionEnabled: HPTE.get(words, 0) !== 0,
      directory,
      pasidLimit,
      ridPasid,
      ridPrivileged: RID_PRIV.get(words, 0) !== 0,
    })
  }

  /** Semantic checks of a PASID table entry: AW, PGTT, FSPM, and the guest's own pointer. [VTD 7.1.3 SPT.4] */
  #decodePasidEntry(pasid: number): DmaConfig | null {
    const words = this.#entry.words
    const pgtt = PASID_TABLE_ENTRY.PGTT.get(words, 0)
    const usesFirst = pgtt === PGTT.FIRST || pgtt === PGTT.NESTED
    const usesSecond = pgtt === PGTT.SECOND || pgtt === PGTT.NESTED
    const aw = PASID_TABLE_ENTRY.AW.get(words, 0)
    if (usesSecond && !this.#hasWidth(aw)) return this.#fail(REASON.SPT_4)
    if (!this.#hasType(pgtt)) return this.#fail(REASON.SPT_4)
    const fspm = PASID_TABLE_ENTRY.FSPM.get(words, 0)
    const hasFspm = fspm === FSPM.FOUR_LEVEL || (fspm === FSPM.FIVE_LEVEL && this.#caps.cap.FS5LP !== 0)
    if (usesFirst && !hasFspm) return this.#fail(REASON.SPT_4)
    const firstTable = PASID_TABLE_ENTRY.FSPTPTR.get(words, 0)
    if (pgtt === PGTT.NESTED && firstTable >= 2 ** this.#secondBits(aw)) return this.#fail(REASON.SPT_4)
    const config = dmaConfig(pgtt, PASID_TABLE_ENTRY.DID.get(words, 0), pasid, this.fpd, {
      secondTable: PASID_TABLE_ENTRY.SSPTPTR.get(words, 0),
      secondLevels: aw + 2,
      secondBits: this.#secondBits(aw),
      firstTable,
      firstLevels: fspm === FSPM.FIVE_LEVEL ? 5 : 4,
      sre: PASID_TABLE_ENTRY.SRE.get(words, 0) !== 0,
      wpe: PASID_TABLE_ENTRY.WPE.get(words, 0) !== 0,
      eafe: PASID_TABLE_ENTRY.EAFE.get(words, 0) !== 0,
      ssade: PASID_TABLE_ENTRY.SSADE.get(words, 0) !== 0,
      isSnooped: PASID_TABLE_ENTRY.PWSNP.get(words, 0) !== 0,
      hostTable: PASID_TABLE_ENTRY.HPTPTR.get(words, 0),
      hostBits: HPT_BITS + PASID_TABLE_ENTRY.HPTSZ.get(words, 0),
      hostDid: PASID_TABLE_ENTRY.HPTDID.get(words, 0),
    })
    this.#entry.showDma(config)
    return config
  }

  /** [VTD 9.6 PGTT] */
  #hasType(pgtt: number): boolean {
    const { FSTS, SSTS, NEST, PT } = this.#caps.ecap
    if (pgtt === PGTT.FIRST) return FSTS !== 0
    if (pgtt === PGTT.SECOND) return SSTS !== 0
    return pgtt === PGTT.NESTED ? NEST !== 0 : pgtt === PGTT.PASS_THROUGH && PT !== 0
  }

  /** [VTD 9.3 TT, 7.1.3 LCT.4.2] */
  #hasTranslationType(tt: number): boolean {
    const { DT, PT } = this.#caps.ecap
    if (tt === TT.UNTRANSLATED) return true
    return (tt === TT.ALL && DT !== 0) || (tt === TT.PASS_THROUGH && PT !== 0)
  }

  #hasWidth(aw: number): boolean {
    return aw >= 1 && aw <= 3 && ((this.#caps.cap.SAGAW >>> aw) & 1) !== 0
  }

  #secondBits(aw: number): number {
    return Math.min(this.#caps.mgawBits, 30 + 9 * aw)
  }

  #fail(reason: number): null {
    this.reason = reason
    this.#entry.showFailure(reason)
    return null
  }
}
