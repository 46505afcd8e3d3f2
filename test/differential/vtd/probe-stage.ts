/** A small fixed world for probes: one address, and the words of everything it depends on. */

import { type IdRegisters, REGISTER } from '../../../hw-model/vtd/index.js'
import type { Ram } from '../ram.js'
import { DESCRIPTORS, type Descriptor } from './descriptors.js'
import { contextWords, LEAF_1, LEAF_2, PGTT, pasidWords, scalableContextWords, TABLE_1, TABLE_2 } from './entries.js'
import { REQUESTERS, type VariantName } from './machine.js'
import { type Epoch, Pair } from './pair.js'
import { PLACE } from './places.js'
import { GCMD, Invalidations } from './queue.js'
import type { VtdQuirk } from './quirks.js'

/** The address that everything is about, and where it leads. */
export const VA = 0x12345000n
export const OUTPUT = PLACE.DATA + 0x5000

/** The domain-id of everybody. */
export const DID = 7

/** Tables from the root, and the entries for VA in them. */
const TABLES = [0, 1, 2, 3].map((i) => PLACE.TABLES + 4096 * i)
export const SLOT = {
  ROOT: TABLES[0],
  MIDDLE: TABLES[1],
  LEAF: TABLES[3] + 8 * 0x145,
} as const

/** Where the configuration stands. */
export const AT = {
  ROOT: PLACE.ROOTS,
  CONTEXTS: PLACE.CONTEXTS,
  DIRECTORY: PLACE.PASIDS,
  PASID: PLACE.PASIDS + 0x1000,
} as const

/** What an answer must be: an output address, a record's two words, no record, or what the queue does. */
export type Expected = { readonly ok: number } | { readonly record: readonly bigint[] } | 'abort' | 'stops' | 'goes on'

/** A fixed scenario that shows a quirk, and what the manual wants instead. */
export interface Probe {
  readonly quirk: VtdQuirk
  readonly variant: VariantName
  readonly isScalable?: boolean
  /** Changes memory before both units start. */
  set?(stage: ProbeStage): void
  /** What happens; the last access is the one that counts. A write by default. */
  act?(stage: ProbeStage): void
  readonly manual: Expected
}

/** What a probe may change before both units start, and do afterwards. */
export class ProbeStage {
  readonly ram: Ram
  readonly pair: Pair
  ttm: number
  queue: Invalidations | null = null

  constructor(ram: Ram, pair: Pair, { variant, isScalable = false }: Probe) {
    this.ram = ram
    this.pair = pair
    this.ttm = isScalable ? 1 : 0
    const isFirst = isScalable && variant !== 'SECOND'
    const [table, leaf] = isFirst ? [TABLE_1, LEAF_1] : [TABLE_2, LEAF_2]
    ram.set(SLOT.ROOT, BigInt(TABLES[1]) | table)
    ram.set(SLOT.MIDDLE, BigInt(TABLES[2]) | table)
    ram.set(TABLES[2] + 8 * 0x91, BigInt(TABLES[3]) | table)
    ram.set(SLOT.LEAF, BigInt(OUTPUT) | leaf)
    ram.set(AT.ROOT, BigInt(AT.CONTEXTS) | 1n)
    // Three levels where the machine has no more.
    const [top, aw] = variant === 'NARROW' ? [TABLES[1], 1] : [TABLES[0], 2]
    for (const { sid } of REQUESTERS) {
      if (!isScalable) ram.setAll(AT.CONTEXTS + 16 * sid, contextWords(top, aw, 0, DID))
      else if (sid < 128) ram.setAll(AT.CONTEXTS + 32 * sid, scalableContextWords(AT.DIRECTORY, 0))
    }
    if (!isScalable) return
    ram.set(AT.DIRECTORY, BigInt(AT.PASID) | 1n)
    ram.setAll(AT.PASID, pasidWords(isFirst ? PGTT.FIRST : PGTT.SECOND, aw, DID, top))
  }

  /** Turns bits over, before the start or after it. */
  flip(address: number, bits: bigint): void {
    const next = this.ram.get(address) ^ bits
    if (this.queue === null) this.ram.set(address, next)
    else this.pair.poke(address, next, 'probe')
  }

  /** The context entry of the first requester, in legacy mode. */
  readonly legacyContext = AT.CONTEXTS + 16 * REQUESTERS[0].sid
  readonly scalableContext = AT.CONTEXTS + 32 * REQUESTERS[0].sid

  /** A write of the first requester, or of the one with this number. */
  write(va: bigint = VA, device = 0): void {
    this.pair.dma(device, va, true)
  }

  /** A read of the second requester. */
  read(va: bigint = VA): void {
    this.pair.dma(1, va, false)
  }

  run(...descriptors: readonly Descriptor[]): void {
    this.queue?.run(descriptors, 'probe')
  }

  /** Asks the queue for something, notes what it does, and makes an access that carries the notes. */
  ask(descriptor: Descriptor): void {
    const { pair } = this
    pair.drop()
    this.queue?.runUnlike(descriptor, () => {
      pair.check(REGISTER.IQH, 'IQH')
      pair.check(REGISTER.FSTS, 'FSTS')
    })
    this.write()
  }
}

/** What a probe asks of both units. */
export function makeProbe(ram: Ram, id: IdRegisters, bars: readonly number[], probe: Probe): Epoch {
  ram.clear()
  const pair = new Pair(ram, id, bars, false)
  const stage = new ProbeStage(ram, pair, probe)
  probe.set?.(stage)
  for (let at: number = PLACE.QUEUE; at < PLACE.STATUS + 4096; at += 4096) ram.touch(at)
  pair.begin()
  const isWide = probe.isScalable === true
  const queue = new Invalidations(pair, true, isWide, 0)
  const latch = (ttm: number): void => {
    pair.write(REGISTER.RTADDR, 8, BigInt(AT.ROOT) | (BigInt(ttm) << 10n))
    queue.command(GCMD.SRTP, true)
    Object.assign(pair.state, { root: AT.ROOT, ttm })
  }
  latch(isWide ? 1 : 0)
  const pasids = isWide ? [DESCRIPTORS.pasidCacheGlobal()] : []
  queue.run([DESCRIPTORS.contextGlobal(), ...pasids, DESCRIPTORS.iotlbGlobal()])
  latch(stage.ttm)
  queue.command(GCMD.TE, true)
  pair.state.enabled = true
  stage.queue = queue
  pair.drop()
  if (probe.act === undefined) stage.write()
  else probe.act(stage)
  queue.command(GCMD.TE, false)
  latch(isWide ? 1 : 0)
  queue.finish()
  return pair.end()
}
