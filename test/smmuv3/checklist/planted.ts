/** Translations planted in a unit's caches, whose leaves are then taken out of memory: what still answers was cached. */

import { Guest, type GuestOptions, hex } from './guest.js'
import { PAGE, type Shape, Tables, TG0 } from './tables.js'

/** A stage 1 page without nG. */
export const GLOBAL = PAGE & ~0x800n

/** What is planted: a stream of its own that translates one address. */
export interface Plant {
  readonly va: bigint
  readonly vmid?: bigint
  readonly asid?: bigint
  readonly leaf?: bigint
  /** Level of the leaf; 3 is a page. */
  readonly level?: number
  readonly granule?: number
  /** `stage 1` unless said otherwise. */
  readonly config?: 'stage 1' | 'stage 2' | 'nested'
  /** STE.STRW, the StreamWorld of a stage 1. */
  readonly strw?: bigint
}

/** Plants by name. */
export type Garden = Readonly<Record<string, Plant>>

/** Shared stage 2 tables of a VMID, identity over the first 4 GiB. */
function identity(g: Guest, granule: number): Tables {
  const shape: Shape = { granule, bits: 40, start: granule === 12 ? 1 : 2 }
  return new Tables(g, shape)
}

/** A guest in which every plant has been read once and whose leaves are gone. */
export class Planted extends Guest {
  readonly #plants: [name: string, sid: number, va: bigint][] = []
  readonly #leaves: bigint[] = []
  /** Tables by tag: who shares a tag shares them, as the manual asks. [SMMU 3.17 TLB tagging] */
  readonly #stage1 = new Map<string, Tables>()
  readonly #stage2 = new Map<string, Tables>()

  constructor(garden: Garden, options: GuestOptions = {}, cr2 = 0b10) {
    super({ ...options, cr0: 0b1100 })
    this.set32(0x2c, cr2)
    this.set32(0x20, 0b1101 | ((options.cr0 ?? 0) & 0x1c0))
    for (const [name, plant] of Object.entries(garden)) this.#plant(name, plant)
    for (const [name, sid, va] of this.#plants) {
      const ended = this.read(va, { sid })
      if (!ended.startsWith('0x')) throw new Error(`${name}: ${ended} ${this.events()}`)
    }
    for (const leaf of this.#leaves) this.store(leaf, 0n)
  }

  /** Names of the plants that are still cached. */
  survivors(): string[] {
    return this.#plants.filter(([, sid, va]) => this.read(va, { sid }) !== 'abort').map(([name]) => name)
  }

  /** The same, for what is gone after a command. */
  gone(...command: readonly bigint[]): string[] {
    this.command(...command, 0x46n, 0n)
    if (this.get32(0x60) !== 0) throw new Error(`command refused: ${hex(command[0])}`)
    const alive = new Set(this.survivors())
    return this.#plants.filter(([name]) => !alive.has(name)).map(([name]) => name)
  }

  #plant(name: string, plant: Plant): void {
    const { va, vmid = 5n, asid = 7n, level = 3, granule = 12, config = 'stage 1', strw = 0n } = plant
    const sid = this.#plants.length + 1
    this.#plants.push([name, sid, va])
    const target = 0x4000_0000n | (va & 0x3fff_f000n)
    if (config === 'stage 2') {
      const two = this.#tables(vmid, granule)
      this.#leaves.push(two.set(va, level, this.#floor(target, level, granule) | (level === 3 ? 0x7ffn : 0x7fdn)))
      this.storeSte(sid, 0b1101n, 0n, this.#ste2(vmid, granule), two.root)
      return
    }
    const tag = [
      strw,
      strw === 0n && (this.get32(0) & 1) === 1 ? vmid : 0n,
      strw === 2n && (this.get32(0x2c) & 1) === 0 ? 0n : asid,
    ].join(' ')
    const one = this.#stage1.get(tag) ?? new Tables(this, { granule, bits: 48, start: granule === 16 ? 1 : 0 })
    if (one.shape.granule !== granule) throw new Error(`${name}: one tag has one granule`)
    this.#stage1.set(tag, one)
    const bits = plant.leaf ?? PAGE
    const leaf = this.#floor(target, level, granule) | (level === 3 ? bits : bits & ~2n)
    this.#leaves.push(one.set(va, level, leaf))
    const cd = this.alloc()
    this.store(cd, (asid << 48n) | 0x0000_e205_c000_3510n | (TG0[granule] << 6n), one.root, 0n, 0xf404_ff44n)
    const nested = config === 'nested'
    const two = nested ? this.#tables(vmid, 12) : undefined
    this.storeSte(
      sid,
      cd | (nested ? 0xfn : 0xbn),
      0xd4n | (strw << 30n),
      nested ? this.#ste2(vmid, 12) : vmid,
      two?.root ?? 0n,
    )
  }

  #floor(target: bigint, level: number, granule: number): bigint {
    return (target >> BigInt(granule + (granule - 3) * (3 - level))) << BigInt(granule + (granule - 3) * (3 - level))
  }

  #ste2(vmid: bigint, granule: number): bigint {
    return 0x040d_3500_0000_0000n | vmid | (24n << 32n) | (1n << 38n) | (TG0[granule] << 46n)
  }

  /** Stage 2 of a VMID: RAM below 1 GiB as it is, and what stage 1 puts out at 1 GiB. */
  #tables(vmid: bigint, granule: number): Tables {
    const key = `${vmid} ${granule}`
    const known = this.#stage2.get(key)
    if (known !== undefined) return known
    const made = identity(this, granule)
    if (granule === 12) {
      made.set(0n, 1, 0x7fdn)
      made.set(0x4000_0000n, 1, 0x4000_0000n | 0x7fdn)
    }
    this.#stage2.set(key, made)
    return made
  }
}
