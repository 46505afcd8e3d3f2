/** A small fixed world for probes: one address of both stages, and the words of everything it depends on. */

import { type IdRegisters, OFFSET } from '../../../hw-model/smmuv3/index.js'
import type { Ram } from '../ram.js'
import { CommandQueue } from './command-queue.js'
import { COMMANDS } from './commands.js'
import { LEAF_1, LEAF_2 } from './geometry.js'
import { cdWords, type SecondFields, steWords } from './layout.js'
import { REQUESTERS } from './machine.js'
import { type Epoch, Pair } from './pair.js'
import type { SmmuQuirk } from './quirks.js'
import { PLACE } from './ram.js'

/** The address that everything is about: input of either stage, and the IPA of a page that stage 2 maps by itself. */
export const VA = 0x12345000n

/** Where stage 1 leads, and where stage 2 does from the same number. */
export const OUTPUT_1 = PLACE.DATA + 0x5000
export const OUTPUT_2 = PLACE.DATA + 0x15000

/** Physical addresses of the entries for VA, from the root, and of the tables. */
export const FIRST = { root: PLACE.STAGE_1, middle: PLACE.STAGE_1 + 0x1000, last: PLACE.STAGE_1 + 0x2000 } as const
export const SECOND = { root: PLACE.STAGE_2, middle: PLACE.STAGE_2 + 0x2000, last: PLACE.STAGE_2 + 0x3000 } as const

/** An IPA that stage 2 does not map. */
export const UNMAPPED = 0x80000000

/** What an answer must be: an output address, a record's four words, or neither. */
export type Expected = { readonly ok: number } | { readonly record: readonly bigint[] } | 'abort' | 'stopped'

/** A fixed scenario that shows a quirk, and what the manual wants instead. */
export interface Probe {
  readonly quirk: SmmuQuirk
  readonly isTwoLevel?: boolean
  /** Changes memory and registers before both units start. */
  set?(stage: ProbeStage): void
  /** What happens; the last access is the one that counts. */
  act(stage: ProbeStage): void
  readonly manual: Expected
}

const VMID = 3
const ASID = 7
const KIB_4 = { granuleLg2: 12, inputBits: 39, start: 1 } as const

/** What a probe may change before both units start, and do afterwards. */
export class ProbeStage {
  readonly ram: Ram
  readonly pair: Pair
  /** 5 for stage 1, 6 for stage 2, 7 for both. */
  config = 5
  contextPointer: number = PLACE.CONTEXTS
  second: SecondFields = {
    vmid: VMID,
    geometry: KIB_4,
    ps: 4,
    ignoresAf: false,
    records: true,
    protectsTables: false,
    table: SECOND.root,
  }
  readonly cd = cdWords(ASID, 4, { geometry: KIB_4, table: FIRST.root, tbi: false }, null, false, true)
  /** Bits that are turned over in the STE's first words. */
  readonly steFlips = [0n, 0n, 0n, 0n]
  strtabBase: number = PLACE.STREAMS
  log2Size = 8
  split = 6
  recordsBadStreams = true
  queue: CommandQueue | null = null

  constructor(ram: Ram, pair: Pair) {
    this.ram = ram
    this.pair = pair
    ram.set(FIRST.root, BigInt(FIRST.middle) | 3n)
    ram.set(FIRST.middle + 8 * 0x91, BigInt(FIRST.last) | 3n)
    ram.set(FIRST.last + 8 * 0x145, BigInt(OUTPUT_1) | LEAF_1 | 3n)
    ram.set(SECOND.root, BigInt(SECOND.middle) | 3n)
    // All of memory as it is, so that tables of stage 1 may stand anywhere.
    ram.set(SECOND.root + 8, 0x40000000n | LEAF_2 | 1n)
    ram.set(SECOND.middle + 8 * 0x91, BigInt(SECOND.last) | 3n)
    ram.set(SECOND.last + 8 * 0x145, BigInt(OUTPUT_2) | LEAF_2 | 3n)
  }

  /** Turns bits over, or writes a word before the start. */
  change(address: number, bits: bigint): void {
    const next = this.ram.get(address) ^ bits
    if (this.queue === null) this.ram.set(address, next)
    else this.pair.poke(address, next, 'probe')
  }

  /** Where a stream's entry stands in a linear table. */
  steAt = (sid: number): number => PLACE.STREAMS + 64 * sid

  /** The STE that all streams have. */
  get ste(): bigint[] {
    const words = steWords(this.config, this.contextPointer, VMID, this.second)
    this.steFlips.forEach((bits, i) => {
      words[i] ^= bits
    })
    return words
  }

  /** A write of the first requester, or of the one with this number. */
  write(va: bigint = VA, device = 0): void {
    this.pair.dma(device, va, true)
  }

  /** A read of the second requester. */
  read(va: bigint = VA): void {
    this.pair.dma(1, va, false)
  }
}

/** What a probe asks of both units. */
export function makeProbe(ram: Ram, id: IdRegisters, bars: readonly number[], probe: Probe): Epoch {
  ram.clear()
  const pair = new Pair(ram, id, bars, false)
  const stage = new ProbeStage(ram, pair)
  probe.set?.(stage)
  const isTwoLevel = probe.isTwoLevel === true
  if (!isTwoLevel) for (const { sid } of REQUESTERS) ram.setAll(stage.steAt(sid), stage.ste)
  if (ram.get(PLACE.CONTEXTS) === 0n) ram.setAll(PLACE.CONTEXTS, stage.cd)
  for (let at: number = PLACE.COMMANDS; at < PLACE.EVENTS + 0x2000; at += 4096) ram.touch(at)
  pair.begin()
  pair.write(OFFSET.CR0, 4, 0n)
  pair.write(OFFSET.CR2, 4, stage.recordsBadStreams ? 2n : 0n)
  pair.write(OFFSET.STRTAB_BASE, 8, BigInt(stage.strtabBase))
  const shape = isTwoLevel ? (1 << 16) | (stage.split << 6) : 0
  pair.write(OFFSET.STRTAB_BASE_CFG, 4, BigInt(shape | stage.log2Size))
  const { registers } = pair
  registers.strtabBase = stage.strtabBase
  registers.log2Size = stage.log2Size
  registers.split = stage.split
  registers.twoLevel = isTwoLevel
  registers.recordsBadStreams = stage.recordsBadStreams
  const queue = new CommandQueue(pair, 5)
  pair.eventQueue(7, 0)
  pair.write(OFFSET.CR0, 4, 0b1100n)
  queue.settle()
  queue.run([COMMANDS.cfgiAll(), COMMANDS.nsnhAll()])
  pair.write(OFFSET.CR0, 4, 0b1101n)
  registers.enabled = true
  stage.queue = queue
  pair.drop()
  probe.act(stage)
  pair.write(OFFSET.CR0, 4, 0b1000n)
  queue.finish()
  pair.write(OFFSET.CR0, 4, 0n)
  return pair.end(isTwoLevel)
}
