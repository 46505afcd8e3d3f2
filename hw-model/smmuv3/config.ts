/**
 * Finds STEs and CDs: one level or two, from the configuration caches or from memory. What software does not
 * invalidate with CMD_CFGI_* stays as it was fetched, an ILLEGAL entry too. Failed fetches and pointers that lead
 * nowhere are not kept. [SMMU 3.3 Data structures and translation procedure] [SMMU 3.21.3 Configuration structures]
 */

import { highHalf, joinWord } from '../bits/address.js'
import { ConfigCache } from '../cache/config-cache.js'
import { MEMORY, type Memory } from '../memory/memory.js'
import type { CacheStatistics, WalkTrace } from '../port.js'
import type { TableStage } from '../walk/format.js'
import { type CachePlan, planCaches } from './cache-options.js'
import { ContextConfig, decodeCd } from './decode-cd.js'
import { decodeSte, type StreamConfig } from './decode-ste.js'
import { EVENT } from './event-records.js'
import type { Features } from './features.js'
import { CD, L1CD, L1STD, S1FMT, STE } from './records.js'
import type { RegisterFile } from './register-file.js'
import { CR2, OFFSET, STRTAB_BASE, STRTAB_BASE_CFG } from './registers.js'
import { cdStep, l1cdStep, l1stdStep, steStep } from './steps.js'

/** SSIDs have 20 bits; keys of the CD caches are SID * 2^20 + index. */
const SSIDS = 2 ** 20

/** log2 of the CDs in a leaf of a two-level CD table. [SMMU 5.2 S1Fmt] */
const LEAF_4K_LG2 = 6
const LEAF_64K_LG2 = 10

/** L1STD.Span beyond this is reserved and leads nowhere. [SMMU 5.1] */
const SPAN_LAST = 11

/** STRTAB_BASE_CFG.SPLIT; other values behave as the first. */
const SPLITS = { 6: 6, 8: 8, 10: 10 } as const

/** A view keeps nothing of its own. */
const OFF = planCaches({ policy: 'off' })

/** Structures that are fetched. */
export const FETCHED = { STE: 1, L1STD: 2, CD: 3, L1CD: 4 } as const

/** Sees the words of each structure that is fetched. */
export interface FetchWitness {
  /** @param what one of FETCHED */
  fetched(what: number, physical: number, words: Int32Array, count: number): void
}

/** Which caches a view shows. */
export interface ShownConfigurations {
  readonly streams: boolean
  /** L1STDs. */
  readonly blocks: boolean
  readonly contexts: boolean
  /** L1CDs. */
  readonly contextTables: boolean
}

/** A level 1 stream table descriptor that leads somewhere. */
interface StreamBlock {
  readonly table: number
  readonly count: number
}

/** The configuration caches and what stands behind them. */
export class Configurations {
  /** Why `stream` or `context` answered null: an event, or 0 when stage 2 refused the address of a CD. */
  event = 0
  /** Address of a fetch that aborted. */
  fetchAddress = 0
  /** SSID to report with C_BAD_SUBSTREAMID. */
  ssid = 0
  /** Shows the structures, if anybody looks. */
  trace: WalkTrace | null = null
  witness: FetchWitness | null = null
  /** Moves on whenever something is dropped; remembered CDs of an older generation are void. */
  generation = 0

  readonly #memory: Memory
  readonly #registers: RegisterFile
  readonly #features: Features
  #stream: ConfigCache<StreamConfig>
  #block: ConfigCache<StreamBlock>
  #context: ConfigCache<ContextConfig>
  #contextTable: ConfigCache<number>
  readonly #words = new Int32Array(16)
  #keepsContexts: boolean
  /** Entries whose paths can be known: none unless both STEs and CDs are kept. */
  paths: number
  /** The stream asked for last; void when the generation moved on. */
  #lastSid = -1
  #lastStream: StreamConfig | null = null
  #lastGeneration = -1

  /** Structures that were not cached. */
  misses = 0
  /** Look-ups of an STE, and of a CD, that a known path has spared. */
  sparedStreams = 0
  sparedContexts = 0
  /** Whose entries a view shows. */
  readonly #shown: Configurations | null

  /**
   * @param plan sizes of the caches
   * @param shown whose entries to show, for `view`, and which
   */
  constructor(
    memory: Memory,
    registers: RegisterFile,
    features: Features,
    plan: CachePlan,
    shown: Configurations | null = null,
    which: ShownConfigurations | null = null,
  ) {
    this.#shown = which?.contexts ? shown : null
    this.#memory = memory
    this.#registers = registers
    this.#features = features
    const { config, chance } = plan
    this.#keepsContexts = config.cd > 0
    this.paths = pathsOf(plan)
    const streams = which?.streams ? shown : null
    const blocks = which?.blocks ? shown : null
    const tables = which?.contextTables ? shown : null
    const contexts = this.#shown
    this.#stream = streams === null ? new ConfigCache(config.ste, chance) : streams.#stream.view()
    this.#block = blocks === null ? new ConfigCache(config.l1std, chance) : blocks.#block.view()
    this.#context = contexts === null ? new ConfigCache(config.cd, chance) : contexts.#context.view()
    this.#contextTable = tables === null ? new ConfigCache(config.l1cd, chance) : tables.#contextTable.view()
    if (streams === null || streams.#lastGeneration !== streams.generation) return
    this.generation = streams.generation
    this.#lastSid = streams.#lastSid
    this.#lastStream = streams.#lastStream
    this.#lastGeneration = streams.generation
  }

  /** New caches, all empty. */
  replan(plan: CachePlan): void {
    const { config, chance } = plan
    this.generation++
    this.#keepsContexts = config.cd > 0
    this.paths = pathsOf(plan)
    this.sparedStreams = 0
    this.sparedContexts = 0
    this.#stream = new ConfigCache(config.ste, chance)
    this.#block = new ConfigCache(config.l1std, chance)
    this.#context = new ConfigCache(config.cd, chance)
    this.#contextTable = new ConfigCache(config.l1cd, chance)
  }

  /** What is cached at this moment, or parts of it, to look at only; the rest comes from memory. */
  view(which: ShownConfigurations): Configurations {
    return new Configurations(this.#memory, this.#registers, this.#features, OFF, this, which)
  }

  get evictions(): number {
    return this.#stream.evictions + this.#block.evictions + this.#context.evictions + this.#contextTable.evictions
  }

  /** What each cache has done so far. */
  get statistics(): readonly CacheStatistics[] {
    return [
      withHits(this.#stream.statistics('ste'), this.sparedStreams),
      this.#block.statistics('l1std'),
      withHits(this.#context.statistics('cd'), this.sparedContexts),
      this.#contextTable.statistics('l1cd'),
    ]
  }

  /** The STE of a stream, or null with the reason in `event`. */
  stream(sid: number): StreamConfig | null {
    if (sid === this.#lastSid && this.generation === this.#lastGeneration) {
      this.#stream.hits++
      return this.#lastStream
    }
    const known = this.#stream.get(sid)
    if (known !== undefined) {
      this.#lastSid = sid
      this.#lastStream = known
      this.#lastGeneration = this.generation
      return known
    }
    this.misses++
    const at = this.#locateSte(sid)
    if (at < 0) return null
    if (at >= 2 ** this.#features.oasBits || this.#memory.loadRecord(at, this.#words, 0, 16) !== MEMORY.OK) {
      return this.#failFetch(EVENT.F_STE_FETCH, at)
    }
    const e2h = CR2.E2H.get(this.#registers.words, OFFSET.CR2 >>> 2) === 1
    this.witness?.fetched(FETCHED.STE, at, this.#words, 16)
    const config = decodeSte(this.#words, sid, this.#features, e2h)
    if (this.trace !== null) this.trace.step(steStep(at, this.#words, config))
    // Whoever has to go may be remembered as the last one.
    if (this.#stream.set(sid, config)) this.generation++
    return config
  }

  /** Address of an STE, or -1 with the reason in `event`. [SMMU 3.3.1 Stream table lookup] */
  #locateSte(sid: number): number {
    const words = this.#registers.words
    const at = OFFSET.STRTAB_BASE_CFG >>> 2
    // The range has SIDSIZE for a limit; the alignment follows what was written. [SMMU 6.3.24 SMMU_STRTAB_BASE]
    const log2size = STRTAB_BASE_CFG.LOG2SIZE.get(words, at)
    if (sid >= 2 ** Math.min(log2size, this.#features.sidSize))
      return this.#badStream('the StreamID is beyond the stream table')
    const base = STRTAB_BASE.ADDR.get(words, OFFSET.STRTAB_BASE >>> 2)
    const isTwoLevel = STRTAB_BASE_CFG.FMT.get(words, at) === 1 && this.#features.twoLevelStreams
    if (!isTwoLevel) return base - (base % 2 ** (log2size + 6)) + sid * STE.$.bytes
    const split = this.#split()
    const table = base - (base % 2 ** Math.max(6, log2size - split + 3))
    const block = this.#streamBlock(table, Math.floor(sid / 2 ** split), split)
    if (block === null) return -1
    const index = sid % 2 ** split
    if (index >= block.count) return this.#badStream('the StreamID is beyond its level 2 table')
    return block.table + index * STE.$.bytes
  }

  #split(): number {
    return SPLITS[STRTAB_BASE_CFG.SPLIT.get(this.#registers.words, OFFSET.STRTAB_BASE_CFG >>> 2) as 6] ?? 6
  }

  #streamBlock(table: number, index: number, split: number): StreamBlock | null {
    const known = this.#block.get(index)
    if (known !== undefined) return known
    const at = table + index * L1STD.$.bytes
    if (at >= 2 ** this.#features.oasBits || this.#memory.loadRecord(at, this.#words, 0, 2) !== MEMORY.OK) {
      return this.#failFetch(EVENT.F_STE_FETCH, at)
    }
    this.witness?.fetched(FETCHED.L1STD, at, this.#words, 2)
    const span = L1STD.Span.get(this.#words, 0)
    const leads = span !== 0 && span <= SPAN_LAST && span <= split + 1
    if (this.trace !== null) this.trace.step(l1stdStep(at, this.#words, leads))
    if (!leads) {
      this.#badStream('the level 1 descriptor has no table')
      return null
    }
    const pointer = L1STD.L2Ptr.get(this.#words, 0)
    const block = { table: pointer - (pointer % 2 ** (span + 5)), count: 2 ** (span - 1) }
    this.#block.set(index, block)
    return block
  }

  /**
   * The CD of a stream, or null with the reason in `event`.
   *
   * @param index which CD; already checked against S1CDMax
   * @param stage what CD addresses stand behind under nesting, else null
   */
  context(stream: StreamConfig, index: number, stage: TableStage | null): ContextConfig | null {
    if (this.#keepsContexts && stream.contextIndex === index && stream.contextGeneration === this.generation) {
      this.#context.hits++
      return stream.context
    }
    const key = stream.sid * SSIDS + index
    let config = this.#shown === null ? this.#context.get(key) : this.#seen(stream, index, this.#shown)
    if (config === undefined) {
      this.misses++
      const at = this.#locateCd(stream, index, stage)
      if (at < 0 || !this.#load(at, 16, stage, EVENT.F_CD_FETCH)) return null
      this.witness?.fetched(FETCHED.CD, this.fetchAddress, this.#words, 16)
      config = decodeCd(this.#words, stream, this.#features)
      if (this.trace !== null) {
        this.trace.step(cdStep(this.fetchAddress, stage === null ? undefined : at, this.#words, config))
      }
      if (this.#context.set(key, config)) this.generation++
    }
    if (this.#keepsContexts) {
      stream.context = config
      stream.contextIndex = index
      stream.contextGeneration = this.generation
    }
    return config
  }

  /** A copy of the CD that `shown` would answer with: the TLB writes its numbers into those that it is given. */
  #seen(stream: StreamConfig, index: number, shown: Configurations): ContextConfig | undefined {
    const isLast = stream.contextIndex === index && stream.contextGeneration === shown.generation
    const config = isLast ? stream.context : this.#context.get(stream.sid * SSIDS + index)
    return config == null ? undefined : Object.assign(new ContextConfig(), config, { tagEpoch: -1 })
  }

  /** A CD's address as S1ContextPtr names it, or -1: see `event`. [SMMU 3.3.2 StreamIDs to Context Descriptors] */
  #locateCd(stream: StreamConfig, index: number, stage: TableStage | null): number {
    const { contextPtr, cdMaxLg2, s1fmt } = stream
    if (cdMaxLg2 === 0) return contextPtr
    if (s1fmt === S1FMT.LINEAR) return contextPtr - (contextPtr % 2 ** (cdMaxLg2 + 6)) + index * CD.$.bytes
    const leafLg2 = s1fmt === S1FMT.TWO_LEVEL_4K ? LEAF_4K_LG2 : LEAF_64K_LG2
    const table = contextPtr - (contextPtr % 2 ** Math.max(6, cdMaxLg2 - leafLg2 + 3))
    const slot = index >>> leafLg2
    const key = leafKey(stream.sid, index, leafLg2)
    let leaf = this.#contextTable.get(key)
    if (leaf === undefined) {
      const found = this.#readL1cd(table + slot * L1CD.$.bytes, leafLg2, index, stage)
      if (found < 0) return -1
      leaf = found
      this.#contextTable.set(key, leaf)
    }
    return leaf + (index % 2 ** leafLg2) * CD.$.bytes
  }

  #readL1cd(at: number, leafLg2: number, index: number, stage: TableStage | null): number {
    if (!this.#load(at, 2, stage, EVENT.F_CD_FETCH)) return -1
    this.witness?.fetched(FETCHED.L1CD, this.fetchAddress, this.#words, 2)
    const pointer = L1CD.L2Ptr.get(this.#words, 0)
    const leads = L1CD.V.get(this.#words, 0) === 1 && pointer < 2 ** this.#features.oasBits
    if (this.trace !== null) {
      this.trace.step(l1cdStep(this.fetchAddress, stage === null ? undefined : at, this.#words, leads))
    }
    if (leads) return pointer - (pointer % 2 ** (leafLg2 + 6))
    this.event = EVENT.C_BAD_SUBSTREAMID
    this.ssid = index
    return -1
  }

  /** Copies a CD or L1CD, through stage 2 where there is one. */
  #load(at: number, words: number, stage: TableStage | null, event: number): boolean {
    this.event = 0
    if (stage !== null && !stage.translateTable(at | 0, highHalf(at), false)) return false
    const physical = stage === null ? at : joinWord(stage.tableLo, stage.tableHi)
    this.fetchAddress = physical
    if (
      physical < 2 ** this.#features.oasBits &&
      this.#memory.loadRecord(physical, this.#words, 0, words) === MEMORY.OK
    ) {
      return true
    }
    this.event = event
    return false
  }

  /** [SMMU 4.3.1 CMD_CFGI_STE] With the STE goes every CD that was reached through it. */
  dropStream(sid: number, leafOnly: boolean): void {
    this.generation++
    this.#stream.drop(sid)
    if (!leafOnly) this.#block.drop(Math.floor(sid / 2 ** this.#split()))
    this.dropContexts(sid)
  }

  /** [SMMU 4.3.2 CMD_CFGI_STE_RANGE] The aligned block of 2^`lg2` streams around `sid`. */
  dropStreams(sid: number, lg2: number): void {
    this.generation++
    const size = 2 ** lg2
    const first = sid - (sid % size)
    const inRange = (key: number): boolean => key >= first && key < first + size
    this.#stream.dropWhere(inRange)
    const blockSize = 2 ** this.#split()
    this.#block.dropWhere((index) => index * blockSize < first + size && first < (index + 1) * blockSize)
    this.#context.dropWhere((key) => inRange(Math.floor(key / SSIDS)))
    this.#contextTable.dropWhere((key) => inRange(Math.floor(key / SSIDS)))
  }

  /** [SMMU 4.3.3 CMD_CFGI_CD] */
  dropContext(sid: number, index: number, leafOnly: boolean): void {
    this.generation++
    this.#context.drop(sid * SSIDS + index)
    if (leafOnly) return
    this.#contextTable.drop(leafKey(sid, index, LEAF_4K_LG2))
    this.#contextTable.drop(leafKey(sid, index, LEAF_64K_LG2))
  }

  /** [SMMU 4.3.4 CMD_CFGI_CD_ALL] */
  dropContexts(sid: number): void {
    this.generation++
    const isOfStream = (key: number): boolean => Math.floor(key / SSIDS) === sid
    this.#context.dropWhere(isOfStream)
    this.#contextTable.dropWhere(isOfStream)
  }

  /** [SMMU 4.3.6 CMD_CFGI_ALL] */
  dropAll(): void {
    this.generation++
    this.#stream.clear()
    this.#block.clear()
    this.#context.clear()
    this.#contextTable.clear()
  }

  #badStream(why: string): number {
    this.event = EVENT.C_BAD_STREAMID
    if (this.trace !== null) this.trace.step({ what: 'stream table', verdict: `${why}: C_BAD_STREAMID` })
    return -1
  }

  /** Records show no bits above the output size. [SMMU 7.3.4 F_STE_FETCH] */
  #failFetch(event: number, at: number): null {
    this.event = event
    this.fetchAddress = at % 2 ** this.#features.oasBits
    return null
  }
}

const withHits = (statistics: CacheStatistics, more: number): CacheStatistics => ({
  ...statistics,
  hits: statistics.hits + more,
})

/** A path leads through an STE and a CD. */
const pathsOf = ({ config: { ste, cd } }: CachePlan): number => (Math.min(ste, cd) === 0 ? 0 : Math.max(ste, cd))

/** Key of an L1CD: its first SSID, and in the low bits, which are free, the size of its leaf. */
const leafKey = (sid: number, index: number, leafLg2: number): number =>
  sid * SSIDS + ((index >>> leafLg2) << leafLg2) + (leafLg2 === LEAF_64K_LG2 ? 1 : 0)
