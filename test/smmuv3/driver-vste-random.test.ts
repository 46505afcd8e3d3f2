/**
 * Guests' STEs by chance, over memory in which good CDs, bad ones and pointers to them lie side by side. Beside the
 * driver and its unit stands a slow reader of the same memory, written from the manual's order of checks: it says where
 * each DMA ends, and which record the guest is sent, or that it is sent none.
 */

import { describe, expect, it } from 'vitest'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import { type DomainOps, givenData } from '../../server/core/driver.js'
import { Random } from '../hostile/random.js'
import { Ear } from './ear.js'
import { GUEST_RAM, PARENT, RW, World } from './world.js'

const VSID = 77n
/** The guest has 4 MiB, and nothing anywhere else. */
const [IPA, BYTES] = [0x4000_0000n, 0x40_0000n]
/** 4096 CDs, 1024 level 1 descriptors, and four roots with a table and a page each. */
const [CDS, L1S, ROOTS, PAGES] = [0x4010_0000n, 0x4020_0000n, 0x4030_0000n, 0x4038_0000n]
const NOWHERE = 0x7000_0000n
/** Beyond IDR5.OAS. */
const BEYOND = (1n << 50n) | 0x1000n
/** Entry 9 of the root, entry 0x34 of the table below it. */
const VA = 0x123_4000n

const { IDR0, IDR1 } = PRESETS.default
/** Units, by what of their ID registers decides. */
const UNITS = [
  { name: 'the default', ids: {}, ssidSize: 20n, cd2l: true },
  { name: 'SSIDSIZE 5', ids: { IDR1: (IDR1 & ~(31 << 6)) | (5 << 6) }, ssidSize: 5n, cd2l: true },
  { name: 'SSIDSIZE 0', ids: { IDR1: IDR1 & ~(31 << 6) }, ssidSize: 0n, cd2l: true },
  { name: 'no CD2L', ids: { IDR0: IDR0 & ~(1 << 19) }, ssidSize: 20n, cd2l: false },
] as const
type Unit = (typeof UNITS)[number]

describe.each(UNITS)('DMA under random STEs of a guest, $name', (unit) => {
  it.each([1, 2])('ends where the manual says, and the guest hears what is its own: seed %i', (seed) => {
    const random = new Random(seed, 6)
    const world = new World(unit.ids)
    const ear = new Ear()
    world.driver.listener = ear
    const parent = world.driver.createPaging(world.a, PARENT)
    parent.map(IPA, GUEST_RAM, BYTES, RW)
    const viommu = world.driver.createViommu(world.a, parent)
    viommu.addVdevice(world.a, VSID)
    fill(world, random)
    const seen = new Map<string, number>()
    let onRid: DomainOps | null = null
    for (let i = 0; i < 600; i++) {
      const [ste0, ste1] = anSte(random)
      const domain = viommu.createUserDomain(world.a, givenData('smmuv3_ste', { ste0, ste1 }), { pasid: false })
      world.a.set(0, domain, onRid)
      onRid?.destroy()
      onRid = domain
      for (let dma = 0; dma < 4; dma++) {
        const pasid = aPasid(random, ste0 >> 59n)
        const iova = random.pick([VA, VA | 0x120n, 0x5000n, 1n << 30n, 1n << 48n, CDS, NOWHERE])
        ear.vevents.length = 0
        const expected = new Manual(world, unit, ste0, ste1, pasid, iova).end()
        const end = world.dma(world.a, iova, pasid)
        const heard = ear.vevents.map(({ words }) => BigInt.asUintN(64, dw(words, 0)))
        const told = [seed, i, ste0.toString(16), ste1.toString(16), pasid, iova.toString(16)]
        expect([...told, end, ...heard]).toEqual([...told, ...expected])
        for (const { words } of ear.vevents) expect(rest(words)).toEqual(restOf(dw(words, 0) & 0xffn, iova))
        const kind = `${end.split(' ')[0]} ${heard.length}`
        seen.set(kind, (seen.get(kind) ?? 0) + 1)
      }
    }
    // Everything has been met, and more than once.
    const kinds = ['ok 0', 'aborted 0', 'C_BAD_CD 1', 'C_BAD_SUBSTREAMID 1', 'F_TRANSLATION 0', 'F_TRANSLATION 1']
    for (const kind of [...kinds, 'C_BAD_STE 1', 'F_ADDR_SIZE 1'])
      expect([kind, (seen.get(kind) ?? 0) > 3]).toEqual([kind, true])
  })
})

const dw = (words: readonly number[], i: number): bigint => (BigInt(words[2 * i + 1]) << 32n) | BigInt(words[2 * i])
const rest = (words: readonly number[]): bigint[] => [dw(words, 1), dw(words, 2), dw(words, 3)]
/** RnW 35 and CLASS 41:40 = IN, and the address, in F_TRANSLATION and F_ADDR_SIZE; nothing in the others. */
const restOf = (id: bigint, iova: bigint): bigint[] =>
  id >= 0x10n ? [(1n << 35n) | (2n << 40n), iova, 0n] : [0n, 0n, 0n]

/** Roots, then every CD and every level 1 descriptor. */
function fill(world: World, random: Random): void {
  const poke = (ipa: bigint, word: bigint): void => world.poke(GUEST_RAM + Number(ipa - IPA), word)
  for (let r = 0n; r < 4n; r++) {
    poke(ROOTS + r * 0x2000n + 9n * 8n, (ROOTS + r * 0x2000n + 0x1000n) | 3n)
    poke(ROOTS + r * 0x2000n + 0x1000n + 0x34n * 8n, (PAGES + r * 0x1000n) | 0xf47n)
  }
  // T0SZ 34, EPD1, V, IPS 48 bits, AA64, R, A, ASET. What shares an ASID shares its tables.
  const good = 0xe205_c000_3522n
  for (let i = 0n; i < 4096n; i++) {
    const root = BigInt(random.below(4))
    const kind = random.below(10)
    const asid = (BigInt(kind) * 16n + root + 1n) << 48n
    // V is bit 31, AA64 bit 41, S bit 44, EPD0 bit 14, T0SZ 5:0.
    const word = [good & ~(1n << 31n), good & ~(1n << 41n), good | (1n << 44n), good | (1n << 14n), good & ~63n][kind]
    poke(CDS + i * 64n, (word ?? good) | asid)
    poke(CDS + i * 64n + 8n, kind === 5 ? NOWHERE : ROOTS + root * 0x2000n)
    poke(CDS + i * 64n + 24n, 0xf404_ff44n)
  }
  for (let i = 0n; i < 1024n; i++) {
    const table = CDS + BigInt(random.below(64)) * 0x1000n
    const pointer = random.pick([table, table, table, NOWHERE, BEYOND])
    poke(L1S + i * 8n, pointer | (random.oneIn(5) ? 0n : 1n))
  }
}

/** V, Config, S1Fmt, S1ContextPtr, S1CDMax; S1DSS and S1STALLD. */
function anSte(random: Random): [bigint, bigint] {
  const config = random.pick([0n, 4n, 5n, 5n, 5n, 5n, 5n, 5n])
  const v = random.oneIn(12) ? 0n : 1n
  const pick = (base: bigint, count: number): bigint => base + BigInt(random.below(count)) * 64n
  const pointer = random.pick([CDS, pick(CDS, 4096), L1S, pick(L1S, 128), pick(L1S, 128), NOWHERE])
  const max = random.pick([0n, 1n, 3n, 5n, 6n, 7n, 10n, 12n, 16n, 20n, BigInt(random.below(32))])
  const fmt = BigInt(random.below(4))
  const stalld = random.oneIn(16) ? 1n << 27n : 0n
  const ste0 = v | (config << 1n) | (fmt << 4n) | pointer | (max << 59n)
  return [ste0, BigInt(random.below(4)) | stalld | 0xd4n]
}

function aPasid(random: Random, max: bigint): number {
  const within = random.below(2 ** Math.min(Number(max), 20))
  return random.pick([-1, -1, 0, 1, within, within, random.below(2 ** 20)])
}

/** The end of a DMA, and the records' word 0: what the manual says, check by check. */
class Manual {
  readonly #world: World
  readonly #unit: Unit
  readonly #ste0: bigint
  readonly #ste1: bigint
  readonly #pasid: number
  readonly #iova: bigint

  constructor(world: World, unit: Unit, ste0: bigint, ste1: bigint, pasid: number, iova: bigint) {
    this.#world = world
    this.#unit = unit
    this.#ste0 = ste0
    this.#ste1 = ste1
    this.#pasid = pasid
    this.#iova = iova
  }

  end(): (string | bigint)[] {
    const [config, max] = [(this.#ste0 >> 1n) & 7n, this.#ste0 >> 59n]
    const dss = this.#ste1 & 3n
    const { ssidSize, cd2l } = this.#unit
    if ((this.#ste0 & 1n) === 0n || config === 0n) return ['aborted']
    if (config === 4n) return this.#pasid >= 0 ? this.#badSubstream(this.#pasid) : this.#stageTwo(this.#iova)
    const [fmt, hasTable] = [(this.#ste0 >> 4n) & 3n, max !== 0n && ssidSize !== 0n]
    const isTwoLevel = (fmt === 1n || fmt === 2n) && hasTable
    // STALL_MODEL is 1. [SMMU 5.2 Validity of STE]
    if (((this.#ste1 >> 27n) & 1n) === 1n) return this.#event('C_BAD_STE', 0x04n)
    if (ssidSize !== 0n && max > ssidSize) return this.#event('C_BAD_STE', 0x04n)
    if (isTwoLevel && !cd2l) return this.#event('C_BAD_STE', 0x04n)
    if (this.#pasid >= 0 && (!hasTable || this.#pasid >= 2 ** Number(max))) return this.#badSubstream(this.#pasid)
    const disabled: [string, bigint] = ['F_STREAM_DISABLED', 0x06n | (VSID << 32n)]
    if (hasTable && this.#pasid === 0 && dss === 2n) return disabled
    if (hasTable && this.#pasid < 0) {
      if (dss === 1n) return this.#stageTwo(this.#iova)
      if (dss !== 2n) return disabled
    }
    const index = BigInt(Math.max(this.#pasid, 0))
    return this.#throughCd(index, !hasTable ? -1n : isTwoLevel ? 2n + 4n * fmt : 0n, max)
  }

  /** @param split SubstreamID bits of a leaf; 0 for a linear table, -1 for a single CD */
  #throughCd(index: bigint, split: bigint, max: bigint): (string | bigint)[] {
    const pointer = this.#ste0 & 0x000f_ffff_ffff_ffc0n
    let cd = pointer
    if (split === 0n) cd = (pointer & ~((64n << max) - 1n)) + index * 64n
    if (split > 0n) {
      const bytes = max > split ? 8n << (max - split) : 8n
      const table = pointer & ~((bytes > 64n ? bytes : 64n) - 1n)
      const entry = this.#load(table + (index >> split) * 8n)
      if (entry === null) return ['F_TRANSLATION']
      const leaf = entry & 0x00ff_ffff_ffff_f000n
      if ((entry & 1n) === 0n || leaf >= 1n << 48n) return this.#badSubstream(Number(index))
      cd = (leaf & ~((64n << split) - 1n)) + (index % (1n << split)) * 64n
    }
    const [word, ttb] = [this.#load(cd), this.#load(cd + 8n)]
    if (word === null || ttb === null) return ['F_TRANSLATION']
    const bit = (n: bigint): boolean => ((word >> n) & 1n) === 1n
    const isLegal = bit(31n) && bit(41n) && !bit(44n) && (bit(14n) || (word & 63n) === 34n)
    if (!isLegal) return this.#event('C_BAD_CD', 0x0an)
    if (bit(14n) || this.#iova >= 1n << 30n) return this.#event('F_TRANSLATION', 0x10n)
    const table = this.#load(ttb + ((this.#iova >> 21n) & 511n) * 8n)
    if (table === null) return ['F_TRANSLATION']
    if ((table & 3n) !== 3n) return this.#event('F_TRANSLATION', 0x10n)
    const leaf = this.#load((table & 0xffff_ffff_f000n) + ((this.#iova >> 12n) & 511n) * 8n) ?? 0n
    if ((leaf & 3n) !== 3n) return this.#event('F_TRANSLATION', 0x10n)
    return this.#stageTwo((leaf & 0xffff_ffff_f000n) | (this.#iova & 0xfffn))
  }

  #stageTwo(ipa: bigint): (string | bigint)[] {
    if (ipa >= 1n << 48n) return this.#event('F_ADDR_SIZE', 0x11n)
    if (ipa < IPA || ipa >= IPA + BYTES) return ['F_TRANSLATION']
    return [`ok ${(BigInt(GUEST_RAM) + ipa - IPA).toString(16)}`]
  }

  /** SSV is bit 11. */
  #event(name: string, id: bigint): [string, bigint] {
    const substream = this.#pasid < 0 ? 0n : (1n << 11n) | (BigInt(this.#pasid) << 12n)
    return [name, id | substream | (VSID << 32n)]
  }

  #badSubstream(index: number): [string, bigint] {
    return ['C_BAD_SUBSTREAMID', 0x08n | (BigInt(index) << 12n) | (VSID << 32n)]
  }

  /** A word of the guest's, or null where stage 2 has no page. */
  #load(ipa: bigint): bigint | null {
    if (ipa < IPA || ipa >= IPA + BYTES) return null
    return this.#world.peek(GUEST_RAM + Number(ipa - IPA))
  }
}
