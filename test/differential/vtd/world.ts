/** A random world: root, contexts, PASIDs, domains and their tables, mostly valid, and what may be accessed in them. */

import type { Capabilities } from '../../../hw-model/vtd/index.js'
import type { Rng } from '../../simulation/rng.js'
import type { Ram } from '../ram.js'
import {
  BIT,
  contextWords,
  IGNORED,
  LEAF_1,
  LEAF_2,
  levelLg2,
  PGTT,
  pasidWords,
  scalableContextWords,
} from './entries.js'
import { REQUESTERS } from './machine.js'
import { PLACE } from './places.js'
import { Arena, Tables } from './tables.js'

/** One thing that is mapped, or is not although a table stands ready for it. */
export interface Leaf {
  /** First input address. */
  readonly input: bigint
  readonly level: number
  /** Physical address of the entry. */
  readonly slot: number
  /** Bytes from the start that accesses go to. */
  readonly offsets: readonly bigint[]
}

/** What one domain-id translates. */
export interface Domain {
  readonly did: number
  readonly tables: Tables
  /** AW of its tables. */
  readonly aw: number
  /** Bits of an input address. */
  readonly bits: number
  readonly leaves: readonly Leaf[]
}

/** What a requester's entries say. */
export interface Device {
  readonly device: number
  readonly sid: number
  readonly kind: 'tables' | 'pass' | 'absent'
  readonly domain: Domain | null
  /** The domain-id in its entry. */
  readonly did: number
  /** Physical addresses of its context entry, and in scalable mode of PASID 0's directory and table entry, else 0. */
  readonly context: number
  readonly directory: number
  readonly pasid: number
}

/** What a world is to be. */
export interface Wanted {
  readonly isScalable: boolean
  /** Of the tables. */
  readonly stage: 1 | 2
  /** Bits of a guest address: 39 or 48. */
  readonly bits: number
  /** What the unit offers. */
  readonly ecap: Capabilities['ecap']
}

/** Everything that was built. */
export interface World {
  readonly wanted: Wanted
  readonly root: number
  readonly domains: readonly Domain[]
  readonly devices: readonly Device[]
}

/** Builds a world into memory that is all zeroes. */
export class WorldBuilder {
  readonly #ram: Ram
  readonly #rng: Rng
  readonly #wanted: Wanted
  readonly #tables = new Arena(PLACE.TABLES, PLACE.DATA)
  readonly #contexts = new Arena(PLACE.CONTEXTS, PLACE.PASIDS)
  readonly #pasids = new Arena(PLACE.PASIDS, PLACE.TABLES)
  #ids: number

  constructor(ram: Ram, rng: Rng, wanted: Wanted) {
    this.#ram = ram
    this.#rng = rng
    this.#wanted = wanted
    this.#ids = 1 + rng.int(0xff00)
  }

  build(): World {
    const rng = this.#rng
    const root = PLACE.ROOTS + 4096 * rng.int(16)
    const domains = Array.from({ length: rng.between(2, 3) }, () => this.#domain())
    const [low, high] = [this.#contexts.page(), this.#contexts.page()]
    const { isScalable } = this.#wanted
    this.#ram.setAll(root, [BigInt(low) | 1n, isScalable ? BigInt(high) | 1n : 0n])
    const devices: Device[] = []
    for (const [device, { sid }] of REQUESTERS.entries()) {
      const domain = rng.pick(domains)
      const context = isScalable ? (sid < 128 ? low + 32 * sid : high + 32 * (sid - 128)) : low + 16 * sid
      devices.push(isScalable ? this.#scalable(device, context, domain) : this.#legacy(device, context, domain))
    }
    return { wanted: this.#wanted, root, domains, devices }
  }

  #kind(): Device['kind'] {
    const roll = this.#rng.int(100)
    return roll < 84 ? 'tables' : roll < 96 ? 'pass' : 'absent'
  }

  /** [VTD 9.3 Context Entry] */
  #legacy(device: number, context: number, domain: Domain): Device {
    const rng = this.#rng
    const kind = this.#kind()
    const did = kind === 'tables' ? domain.did : ++this.#ids
    const { root } = domain.tables
    const tt = kind === 'pass' ? 2 : this.#wanted.ecap.DT !== 0 && rng.chance(0.4) ? 1 : 0
    const words = [...contextWords(root, domain.aw, tt, did)]
    // Bits that software may use.
    words[1] |= BigInt(rng.int(16)) << 3n
    if (kind === 'absent') words[0] &= ~1n
    if (rng.chance(0.04)) words[0] |= BIT.FPD
    this.#ram.setAll(context, words)
    const { sid } = REQUESTERS[device]
    return { device, sid, kind, domain: kind === 'tables' ? domain : null, did, context, directory: 0, pasid: 0 }
  }

  /** [VTD 9.4 Scalable-Mode Context Entry, 9.6 Scalable-Mode PASID Table Entry] */
  #scalable(device: number, context: number, domain: Domain): Device {
    const rng = this.#rng
    const kind = this.#kind()
    const did = kind === 'tables' ? domain.did : ++this.#ids
    const [directory, pasid] = [this.#pasids.page(), this.#pasids.page()]
    const own = this.#wanted.stage === 1 ? PGTT.FIRST : PGTT.SECOND
    const table = kind === 'pass' ? 0 : domain.tables.root
    const words = [...pasidWords(kind === 'pass' ? PGTT.PASS : own, domain.aw, did, table)]
    // Bits that nobody looks at. [VTD 9.6]
    words[2] |= BigInt(rng.int(4)) << 5n
    if (kind === 'absent') words[0] &= ~1n
    const context0 = [...scalableContextWords(directory, rng.int(8))]
    // Who may send what else. PRE asks for DTE. [VTD 9.4]
    const { DT, PASID, PRS } = this.#wanted.ecap
    if (DT !== 0 && rng.chance(0.5)) context0[0] |= 4n | (PRS !== 0 && rng.chance(0.5) ? 16n : 0n)
    if (PASID !== 0 && rng.chance(0.5)) context0[0] |= 8n
    if (rng.chance(0.03)) context0[0] |= BIT.FPD
    if (rng.chance(0.03)) words[0] |= BIT.FPD
    this.#ram.setAll(context, context0)
    this.#ram.set(directory, BigInt(pasid) | 1n | (rng.chance(0.03) ? BIT.FPD : 0n))
    this.#ram.setAll(pasid, words)
    const { sid } = REQUESTERS[device]
    return { device, sid, kind, domain: kind === 'tables' ? domain : null, did, context, directory, pasid }
  }

  #domain(): Domain {
    const rng = this.#rng
    const { stage, bits: most } = this.#wanted
    const bits = stage === 2 && (most === 39 || rng.chance(0.4)) ? 39 : most
    const aw = (bits - 30) / 9
    const tables = new Tables(this.#ram, rng, this.#tables, aw + 2, stage)
    const leaves: Leaf[] = []
    for (let i = rng.between(6, 12); i > 0; i--) {
      const leaf = this.#leaf(tables, bits)
      if (leaf !== null) leaves.push(leaf)
    }
    return { did: ++this.#ids, tables, aw, bits, leaves }
  }

  #leaf(tables: Tables, bits: number): Leaf | null {
    const rng = this.#rng
    const roll = rng.int(100)
    const level = roll < 68 ? 0 : roll < 90 ? 1 : 2
    const lg2 = levelLg2(level)
    let input = (rng.bits(tables.stage === 1 ? 47 : bits) >> BigInt(lg2)) << BigInt(lg2)
    if (tables.stage === 1 && rng.chance(0.07)) input = BigInt.asUintN(64, input | (-1n << 47n))
    const output = this.#block(lg2)
    const slot = tables.map(input, level, this.#entry(tables.stage, level, output))
    return slot < 0 ? null : { input, level, slot, offsets: this.#offsets(lg2) }
  }

  /** A leaf, mostly one that grants all. */
  #entry(stage: 1 | 2, level: number, output: number): bigint {
    const rng = this.#rng
    let entry = (stage === 1 ? LEAF_1 : LEAF_2) | BigInt(output)
    if (level > 0) entry |= BIT.PS
    else if (rng.chance(0.2)) entry |= BIT.PS
    if (rng.chance(0.3)) entry |= rng.bits(64) & (stage === 1 ? IGNORED.LEAF_1 : IGNORED.LEAF_2)
    if (stage === 1 && level > 0 && rng.chance(0.2)) entry |= 1n << 12n
    const roll = rng.int(100)
    // Scalable mode's second stage has the wrong reasons in the reference: most of it is valid.
    if (stage === 2 && this.#wanted.isScalable && rng.chance(0.9)) return entry
    if (roll < 7) return entry & ~BIT.W
    if (roll < 10) return stage === 1 ? entry & ~BIT.US : entry & ~BIT.R
    if (roll < 14) return 0n
    return stage === 1 && roll < 15 ? entry & ~(rng.chance(0.5) ? BIT.A : BIT.D) : entry
  }

  /** An output whose alignment fits, with data behind it. */
  #block(lg2: number): number {
    if (lg2 > 25) return 0
    return this.#rng.between(PLACE.DATA / 2 ** lg2, PLACE.END / 2 ** lg2 - 1) * 2 ** lg2
  }

  /** Two pages in a leaf; where it covers more than data, such as lie in data. */
  #offsets(lg2: number): bigint[] {
    if (lg2 === 12) return [0n]
    const [from, end] = lg2 > 25 ? [PLACE.DATA, PLACE.END] : [0, 2 ** lg2]
    const page = (): bigint => BigInt(4096 * this.#rng.between(from / 4096, end / 4096 - 1))
    return [page(), page()]
  }
}
