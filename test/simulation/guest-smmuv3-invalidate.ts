/** The invalidations that follow an edit, chosen at random among those that suffice. [SMMU 4.3] [SMMU 4.4] */

import { type Group, type Owned, tablesOf } from './guest-smmuv3-build.js'
import type { GuestContext } from './guest-smmuv3-contexts.js'
import type { Driver } from './guest-smmuv3-driver.js'
import type { Ram } from './ram.js'
import type { SmmuFeatures } from './reference/smmuv3-features.js'
import type { Rng } from './rng.js'

/** What an edit changed: input addresses, in leaves of one size unless there were tables. */
export interface Region {
  readonly input: bigint
  readonly lg2: number
  readonly leafLg2: number
  readonly isTable: boolean
}

const OP = {
  PREFETCH_CONFIG: 0x01n,
  PREFETCH_ADDR: 0x02n,
  CFGI_STE: 0x03n,
  CFGI_STE_RANGE: 0x04n,
  CFGI_CD: 0x05n,
  CFGI_CD_ALL: 0x06n,
  TLBI_NH_ALL: 0x10n,
  TLBI_NH_ASID: 0x11n,
  TLBI_NH_VA: 0x12n,
  TLBI_NH_VAA: 0x13n,
  TLBI_EL2_ALL: 0x20n,
  TLBI_EL2_ASID: 0x21n,
  TLBI_EL2_VA: 0x22n,
  TLBI_EL2_VAA: 0x23n,
  TLBI_S12_VMALL: 0x28n,
  TLBI_S2_IPA: 0x2an,
  TLBI_NSNH_ALL: 0x30n,
} as const

const TG: Readonly<Record<number, bigint>> = { 12: 1n, 14: 2n, 16: 3n }

/** Addresses that single commands still name when there is no range. */
const SINGLE_MOST = 16

/** Issues commands. */
export class Invalidator {
  readonly #rng: Rng
  readonly #driver: Driver
  readonly #features: SmmuFeatures
  readonly #hasRanges: boolean
  readonly #vmw: number
  /**
   * Somewhere a shape or a pointer is not what the guest believes, so that a table may be read at another place, in
   * another granule or as something else than the guest would name: then every edit invalidates everything.
   */
  isBent = false

  constructor(rng: Rng, driver: Driver, features: SmmuFeatures, hasRanges: boolean, vmw: number) {
    this.#rng = rng
    this.#driver = driver
    this.#features = features
    this.#hasRanges = hasRanges
    this.#vmw = vmw
  }

  get ram(): Ram {
    return this.#driver.ram
  }

  sync(): void {
    this.#driver.sync()
  }

  /** An STE changed, and with it every CD that is reached through it. */
  streamChanged(sid: number, leaf: boolean): void {
    const rng = this.#rng
    const at = BigInt(sid) << 32n
    if (rng.chance(0.6)) this.#driver.command(OP.CFGI_STE | at, BigInt(leaf))
    else if (rng.chance(0.5)) this.#driver.command(OP.CFGI_STE_RANGE | at, BigInt(rng.int(6)))
    else this.#driver.command(OP.CFGI_STE_RANGE, 31n)
  }

  /** A CD changed: it is known by each stream that reaches it. */
  contextChanged({ streams }: Group, { ssid }: GuestContext): void {
    for (const { sid } of streams) {
      const at = BigInt(sid) << 32n
      if (this.#rng.chance(0.7)) this.#driver.command(OP.CFGI_CD | at | (BigInt(ssid) << 12n), this.#rng.bit())
      else this.#driver.command(OP.CFGI_CD_ALL | at, 0n)
    }
  }

  /** An L1CD changed. */
  contextTableChanged({ streams }: Group): void {
    for (const { sid } of streams) this.#driver.command(OP.CFGI_CD_ALL | (BigInt(sid) << 32n), 0n)
  }

  /** The stream table changed. */
  everything(): void {
    this.#driver.command(OP.CFGI_STE_RANGE, 31n)
    this.#driver.command(OP.TLBI_NSNH_ALL, 0n)
    if (this.#features.hyp) this.#driver.command(OP.TLBI_EL2_ALL, 0n)
  }

  /** Everything of a group's regime. */
  all({ regime }: Group): void {
    if (regime.world !== 'EL1') this.#driver.command(OP.TLBI_EL2_ALL, 0n)
    else if (this.#features.stage2 && this.#rng.chance(0.9))
      this.#driver.command(OP.TLBI_S12_VMALL | this.#vmid(regime.vmid), 0n)
    else this.#driver.command(OP.TLBI_NSNH_ALL, 0n)
  }

  /** Everything that came from one context whose entries are its own. */
  context(group: Group, { asid }: GuestContext): void {
    const { world, vmid } = group.regime
    const tag = BigInt(asid) << 48n
    if (world === 'EL2') this.#driver.command(OP.TLBI_EL2_ALL, 0n)
    else if (world === 'EL2-E2H') this.#driver.command(OP.TLBI_EL2_ASID | tag, 0n)
    else this.#driver.command(OP.TLBI_NH_ASID | this.#vmid(vmid) | tag, 0n)
  }

  /** A region of some tables. */
  region(owned: Owned, region: Region): void {
    if (this.isBent) this.everything()
    else if (owned.context === undefined) this.#stage2Region(owned.group, region)
    else this.#stage1Region(owned, owned.context, region)
  }

  /** A command that nothing needs; whatever it drops is found again. */
  noise(): void {
    const rng = this.#rng
    const { stage1, stage2, hyp } = this.#features
    const sid = rng.bits(16) << 32n
    const tags = (rng.bits(4) << 32n) | (rng.bits(4) << 48n)
    const address = rng.bits(64) & ~0xfffn
    const legal: (readonly [bigint, bigint])[] = [
      [OP.PREFETCH_CONFIG | sid, 0n],
      [OP.PREFETCH_ADDR | sid, address],
      [OP.CFGI_STE | sid, rng.bit()],
      [OP.TLBI_NSNH_ALL, 0n],
    ]
    if (stage1) {
      legal.push([OP.CFGI_CD | sid | (rng.bits(20) << 12n), rng.bit()], [OP.CFGI_CD_ALL | sid, 0n])
      legal.push([OP.TLBI_NH_ASID | tags, 0n], [OP.TLBI_NH_VA | tags, address | rng.bit()])
      legal.push([OP.TLBI_NH_VAA | tags | (5n << 12n) | (rng.bits(5) << 20n), address | (rng.bits(2) << 10n)])
    }
    if (stage2) legal.push([OP.TLBI_S2_IPA | tags, rng.bits(48) & ~0xfffn], [OP.TLBI_S12_VMALL | tags, 0n])
    if (hyp) legal.push([OP.TLBI_EL2_ALL, 0n], [OP.TLBI_EL2_VA | tags, address], [OP.TLBI_EL2_ASID | tags, 0n])
    const [low, high] = rng.pick(legal)
    this.#driver.command(low, high)
  }

  /** A stage 2 change may have moved the CDs too, and it lives on in entries that combine both stages. */
  #stage2Region(group: Group, region: Region): void {
    const { streams, stage2, regime } = group
    for (const { sid } of streams) this.streamChanged(sid, true)
    const granule = stage2?.tables.shape.granule ?? 12
    const vmid = this.#vmid(regime.vmid)
    const isDone = this.#rng.chance(0.6) && this.#byAddress(OP.TLBI_S2_IPA | vmid, region.input, region, granule)
    if (!isDone) this.#driver.command(OP.TLBI_S12_VMALL | vmid, 0n)
    else if (this.#features.stage1) {
      this.#driver.sync()
      this.#driver.command(OP.TLBI_NH_ALL | vmid, 0n)
    }
  }

  #stage1Region(owned: Owned, context: GuestContext, region: Region): void {
    const { group, half } = owned
    const { shape } = tablesOf(owned)
    const { regime } = group
    const isGlobal = regime.shared !== undefined && half === 1
    const sign = half === 1 ? ((1n << 64n) - 1n) & ~((1n << BigInt(shape.inputBits)) - 1n) : 0n
    const va = (region.input | sign) & ~0xfffn
    const isEl1 = regime.world === 'EL1'
    const vmid = isEl1 ? this.#vmid(regime.vmid) : 0n
    const asid = BigInt(context.asid) << 48n
    const by = this.#rng.int(5)
    // What is kept of a table is an ASID's own, even above global leaves: then every ASID is to be named.
    const isOwn = !(isGlobal && region.isTable)
    const byVa = (isEl1 ? OP.TLBI_NH_VA : OP.TLBI_EL2_VA) | vmid | asid
    if (by < 2 && isOwn && this.#byAddress(byVa, va, region, shape.granule)) return
    if (by === 2 && this.#byAddress((isEl1 ? OP.TLBI_NH_VAA : OP.TLBI_EL2_VAA) | vmid, va, region, shape.granule))
      return
    if (by === 3 || isGlobal || regime.world === 'EL2')
      this.#driver.command(isEl1 ? OP.TLBI_NH_ALL | vmid : OP.TLBI_EL2_ALL, 0n)
    else this.#driver.command((isEl1 ? OP.TLBI_NH_ASID : OP.TLBI_EL2_ASID) | vmid | asid, 0n)
  }

  /** By address or range; false where this unit or region has no such command. [SMMU 4.4.1.1 Range-based invalidation] */
  #byAddress(command: bigint, address: bigint, region: Region, granule: number): boolean {
    const rng = this.#rng
    const { lg2, leafLg2, isTable } = region
    const leaf = isTable ? 0n : rng.bit()
    const scale = lg2 - granule
    if (this.#hasRanges && scale <= (this.#features.ds ? 39 : 31) && rng.chance(0.6)) {
      const level = 3 - (leafLg2 - granule) / (granule - 3)
      const isHint = level >= 1 && (granule !== 14 || level > 1 || this.#features.ds)
      const hint = !isTable && isHint && rng.chance(0.5) ? BigInt(level) : 0n
      // A single page without a level is a reserved combination, so two pages are named.
      const num = scale === 0 && hint === 0n ? 1n : 0n
      this.#driver.command(
        command | (num << 12n) | (BigInt(scale) << 20n),
        address | ((TG[granule] ?? 0n) << 10n) | (hint << 8n) | leaf,
      )
      return true
    }
    const count = 1n << BigInt(lg2 - leafLg2)
    if (isTable || count > SINGLE_MOST) return false
    for (let i = 0n; i < count; i++) this.#driver.command(command, (address + (i << BigInt(leafLg2))) | leaf)
    return true
  }

  /** A VMID operand; bits that VMW leaves out say nothing. [SMMU 6.3.9.1 VMW] */
  #vmid(vmid: number): bigint {
    const low = 2 ** this.#vmw - 1
    return BigInt((vmid & ~low) | (this.#rng.int(0x10000) & low)) << 32n
  }
}
