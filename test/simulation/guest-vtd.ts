/** A random VT-d guest at work: DMA, edits with the invalidations that the manual asks for, and the judge. */

import { Memory, SparseBacking } from '../../hw-model/memory/index.js'
import { ACCESS, NO_PASID, Outcome, STATUS, Transaction } from '../../hw-model/port.js'
import { PRESETS, presetOptions, VtdUnit } from '../../hw-model/vtd/index.js'
import { type Attachment, buildGuest, type Device, type Guest } from './guest-vtd-build.js'
import { Driver, decodeFeatures } from './guest-vtd-driver.js'
import type { Entry } from './intel-tables.js'
import { Overlay, Ram, type Space } from './ram.js'
import {
  inInterruptRange,
  translate,
  type VtdAccess,
  type VtdFeatures,
  type VtdRegisters,
  type VtdResult,
} from './reference/vtd.js'
import type { Rng } from './rng.js'
import { Disagreement, hex, type StepOptions, type StepReport } from './step.js'

const RAM_BASE = 0x4000_0000n
const RAM_BYTES = 0x4000_0000n
/** So far from the page tables that no single wrong bit of a pointer reaches it. */
const CONFIG_BASE = 0x7000_0000n
const ACCESSES = 60

/** Bits that a guest may get wrong by itself; domain-ids stay, for they bind several entries. */
const FLIPS = {
  legacyContext: [
    [0, [0, 1, 2, 3, 4, 11, 13, 20, 40, 47, 50, 63]],
    [1, [0, 1, 2, 5, 7, 24, 40]],
  ],
  context: [
    [0, [0, 1, 2, 3, 4, 5, 7, 9, 10, 13, 20, 40, 47, 50, 63]],
    [1, [0, 1, 13, 15, 19, 20, 40]],
    [2, [5]],
    [3, [63]],
  ],
  pasid: [
    [0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 20, 40, 47, 50, 63]],
    [1, [16, 22, 23, 24, 25, 31, 40]],
    [2, [0, 1, 2, 3, 4, 5, 7, 8, 13, 20, 40, 47, 50, 63]],
    [3, [0]],
    [7, [63]],
  ],
  directory: [[0, [0, 1, 2, 11, 13, 20, 40, 47, 50, 63]]],
  root: [[0, [0, 1, 11, 13, 20, 40, 47, 50, 63]]],
} as const

const FIRST_FLIPS = [0, 1, 2, 5, 6, 7, 10, 12, 13, 20, 21, 30, 33, 40, 46, 47, 48, 50, 51, 52, 62, 63]
const SECOND_FLIPS = [0, 1, 2, 6, 7, 8, 9, 11, 12, 13, 20, 21, 30, 33, 40, 46, 47, 48, 50, 51, 52, 61, 62, 63]

/** Plays one machine. */
export function stepVtd(rng: Rng, options: StepOptions): StepReport {
  return new Machine(rng, options).play()
}

class Machine {
  readonly #rng: Rng
  readonly #memory = new Memory()
  readonly #ram: Ram
  readonly #unit: VtdUnit
  readonly #driver: Driver
  readonly #features: VtdFeatures
  readonly #registers: VtdRegisters
  readonly #guest: Guest
  readonly #recent: VtdAccess[] = []
  /** Every access moves a word of 8 bytes, so in the interrupt range none of them is a message. */
  readonly #transaction = Object.assign(new Transaction(), { bytes: 8 })
  readonly #outcome = new Outcome()
  /** The access to be made next, after an edit of what it passed. */
  #again: VtdAccess | undefined
  #translated = 0
  #blocked = 0

  constructor(rng: Rng, { cached }: StepOptions) {
    this.#rng = rng
    this.#memory.place(Number(RAM_BASE), new SparseBacking(Number(RAM_BYTES)))
    this.#ram = new Ram(this.#memory, RAM_BASE, CONFIG_BASE)
    const config = new Ram(this.#memory, CONFIG_BASE, RAM_BASE + RAM_BYTES)
    const preset = rng.pick(['vtd-scalable', 'vtd-scalable', 'vtd-scalable-57', 'vtd-legacy'] as const)
    const iotlb = { entries: cached ? rng.pick([16, 64, 1024]) : 0, ways: rng.pick([1, 4]) }
    const kept = cached ? rng.pick([2, 256]) : 0
    const options = presetOptions(preset, {}, { iotlb, contextEntries: kept, pasidEntries: kept })
    this.#unit = new VtdUnit(this.#memory, { message: () => {}, interrupt: () => {} }, options)
    this.#features = decodeFeatures(this.#unit, PRESETS[preset].hawBits)
    const isScalable = this.#features.smts && rng.chance(0.75)
    this.#guest = buildGuest(rng, { config, tables: this.#ram }, this.#features, isScalable)
    this.#registers = { rootTable: this.#guest.rootTable, mode: isScalable ? 1 : 0 }
    this.#driver = new Driver(this.#unit, config, rng, isScalable || (this.#features.smts && rng.chance(0.5)))
    this.#driver.start(this.#registers)
  }

  play(): StepReport {
    let disagreement: string | undefined
    let accesses = 0
    try {
      if (this.#rng.chance(0.3)) for (let i = this.#rng.int(3); i >= 0; i--) this.#edit()
      for (; accesses < ACCESSES; accesses++) {
        if (this.#rng.chance(0.08)) this.#edit()
        this.#access(accesses)
      }
    } catch (error) {
      if (!(error instanceof Disagreement)) throw error
      disagreement = error.message
    }
    return {
      accesses,
      translated: this.#translated,
      blocked: this.#blocked,
      hits: this.#unit.counters.hits,
      commands: this.#driver.count,
      disagreement,
    }
  }

  #access(number: number, access = this.#nextAccess()): void {
    const overlay = new Overlay(this.#memory)
    const expected = translate(overlay, this.#features, this.#registers, access)
    Object.assign(this.#transaction, {
      rid: access.sid,
      pasid: access.pasid ?? NO_PASID,
      lo: Number(BigInt.asIntN(32, access.address)),
      hi: Number(BigInt.asIntN(32, access.address >> 32n)),
      access:
        (access.write ? ACCESS.WRITE : ACCESS.READ) |
        (access.execute ? ACCESS.EXECUTE : 0) |
        (access.privileged ? ACCESS.PRIVILEGED : 0),
    })
    this.#unit.translate(this.#transaction, this.#outcome)
    if (expected.ok) this.#translated++
    else this.#blocked++
    const records = this.#driver.takeFaults()
    const wrong = judge(expected, this.#outcome, records) ?? (expected.ok ? this.#missingFlag(overlay) : undefined)
    if (wrong === undefined) return
    const what = `sid ${hex(access.sid)} pasid ${access.pasid ?? 'none'} ${hex(access.address)}`
    const how = `${access.privileged ? 'privileged ' : ''}${access.write ? 'write' : access.execute ? 'execute' : 'read'}`
    throw new Disagreement(`access ${number} (${what} ${how}): ${wrong}\n    ${this.#show(access)}`)
  }

  /** A and D flags that the reference set and the unit did not. */
  #missingFlag(overlay: Overlay): string | undefined {
    for (const [at, value] of overlay.stores) {
      const found = this.#ram.read(at)
      if ((found & value) !== value) return `the entry at ${hex(at)} should be ${hex(value)} and is ${hex(found)}`
    }
    return undefined
  }

  /** The entries that an access passes, for people. */
  #show(access: VtdAccess): string {
    const device = this.#guest.devices.find(({ sid }) => sid === access.sid)
    if (device === undefined) return 'no such device'
    const words = (at: bigint, count: number): string =>
      Array.from({ length: count }, (_, i) => hex(this.#ram.read(at + BigInt(i) * 8n))).join(' ')
    const found = device.attachments.find(({ pasid }) => pasid === access.pasid) ?? device.attachments[0]
    return `context ${words(device.context, 2)}; entry of ${found.pasid ?? 'the device'} ${words(found.at, found.pasid === undefined ? 2 : 3)}`
  }

  #nextAccess(): VtdAccess {
    const rng = this.#rng
    const next = this.#again
    this.#again = undefined
    if (next !== undefined) return { ...next, address: next.address ^ rng.bits(12) }
    let access = this.#randomAccess()
    if (this.#recent.length > 0 && rng.chance(0.5)) {
      const again = rng.pick(this.#recent)
      access = { ...again, address: again.address ^ rng.bits(12) }
      if (rng.chance(0.4)) access = { ...access, write: !access.write, execute: false }
    } else {
      this.#recent.push(access)
      if (this.#recent.length > 8) this.#recent.shift()
    }
    // Writes without PASID to this range are interrupts and no DMA.
    if (access.pasid === undefined && inInterruptRange(access.address)) access = { ...access, write: false }
    return access
  }

  #randomAccess(): VtdAccess {
    const rng = this.#rng
    const device = rng.pick(this.#guest.devices)
    const attachment = rng.pick(device.attachments)
    const isFirst = attachment === device.attachments[0]
    let pasid = isFirst && rng.chance(0.95) ? undefined : attachment.pasid
    if (this.#features.pasid && rng.chance(0.03)) pasid = rng.int(2 ** 20)
    const write = rng.chance(0.4)
    return {
      sid: rng.chance(0.03) ? rng.int(0x300) : device.sid,
      pasid,
      address: this.#randomAddress(attachment),
      write,
      privileged: pasid !== undefined && rng.chance(0.25),
      execute: pasid !== undefined && !write && rng.chance(0.03),
    }
  }

  #randomAddress({ first, second }: Attachment): bigint {
    const rng = this.#rng
    const tables = first ?? second
    if (rng.chance(0.03)) return rng.bits(64)
    if (rng.chance(0.02)) return 0xfee0_0000n | rng.bits(20)
    const leaves = tables?.entries.filter(({ isLeaf }) => isLeaf) ?? []
    if (tables === undefined || leaves.length === 0) return rng.bits(rng.pick([32, 47, 53]))
    const leaf = rng.pick(leaves)
    let address = leaf.input + rng.bits(12 + 9 * (leaf.level - 1))
    const top = 12 + 9 * tables.levels
    if (rng.chance(0.06)) address ^= 1n << BigInt(rng.int(top + 2))
    const isHigh = first !== undefined && ((address >> BigInt(top - 1)) & 1n) === 1n
    return isHigh && rng.chance(0.97) ? BigInt.asUintN(64, BigInt.asIntN(top, address)) : address
  }

  /** Changes something in memory and tells the unit what the manual asks to be told. */
  #edit(): void {
    const rng = this.#rng
    if (rng.chance(0.6) && this.#editHot()) {
      this.#driver.wait()
      return
    }
    const device = rng.pick(this.#guest.devices)
    const attachment = rng.pick(device.attachments)
    const kind = rng.int(12)
    if (kind === 0) this.#editRoot()
    else if (kind === 1) this.#editContext(device)
    else if (kind === 2 && device.directoryEntries.length > 0) {
      this.#flip(this.#ram, rng.pick(device.directoryEntries), FLIPS.directory)
      this.#driver.pasidCacheGlobal()
      this.#driver.iotlbGlobal()
    } else if (kind === 3 && attachment.pasid !== undefined) this.#editPasid(attachment)
    else this.#editTables(attachment)
    this.#driver.wait()
  }

  /** Edits an entry that a recent access passed, and lets the same access come again. */
  #editHot(): boolean {
    if (this.#recent.length === 0) return false
    const access = this.#rng.pick(this.#recent)
    if (access.pasid === undefined && inInterruptRange(access.address)) return false
    const device = this.#guest.devices.find(({ sid }) => sid === access.sid)
    const attachment =
      access.pasid === undefined
        ? device?.attachments[0]
        : device?.attachments.find(({ pasid }) => pasid === access.pasid)
    const tables = attachment?.first ?? attachment?.second
    if (attachment === undefined || tables === undefined) return false
    const input = BigInt.asUintN(12 + 9 * tables.levels, access.address)
    const passed = tables.entries.filter(({ input: first, level }) => {
      const shift = BigInt(12 + 9 * (level - 1))
      return first >> shift === input >> shift
    })
    if (passed.length === 0) return false
    this.#access(-1, access)
    this.#editEntry(attachment, this.#rng.pick(passed), tables === attachment.first)
    this.#again = access
    return true
  }

  #editRoot(): void {
    this.#flip(this.#ram, this.#guest.rootTable + BigInt(this.#rng.int(2)) * 16n, FLIPS.root)
    this.#driver.contextGlobal()
    if (this.#registers.mode === 1) this.#driver.pasidCacheGlobal()
    this.#driver.iotlbGlobal()
  }

  #editContext({ sid, context, attachments }: Device): void {
    const isScalable = this.#registers.mode === 1
    this.#flip(this.#ram, context, isScalable ? FLIPS.context : FLIPS.legacyContext)
    this.#driver.contextDevice(sid, isScalable ? 0 : attachments[0].did)
    for (const { did } of attachments) {
      if (isScalable) this.#driver.pasidCacheDomain(did)
      this.#driver.iotlbDomain(did)
    }
  }

  #editPasid({ at, did, pasid }: Attachment): void {
    this.#flip(this.#ram, at, FLIPS.pasid)
    this.#driver.pasidCachePasid(did, pasid ?? 0)
    this.#driver.iotlbDomain(did)
    if (this.#rng.chance(0.5)) this.#driver.pasidIotlb(did, pasid ?? 0)
  }

  #editTables(attachment: Attachment): void {
    const { first, second } = attachment
    const entries = [
      ...(first?.entries.map((entry) => ({ entry, isFirst: true })) ?? []),
      ...(second?.entries.map((entry) => ({ entry, isFirst: false })) ?? []),
    ]
    if (entries.length === 0) return
    const { entry, isFirst } = this.#rng.pick(entries)
    this.#editEntry(attachment, entry, isFirst)
  }

  #editEntry({ first, did, pasid }: Attachment, entry: Entry, isFirst: boolean): void {
    const rng = this.#rng
    const before = entry.space.read(entry.at)
    const flip = rng.pick(isFirst ? FIRST_FLIPS : SECOND_FLIPS)
    entry.space.write(entry.at, before ^ (1n << BigInt(flip)))
    // Where a table stands or stood, more than one leaf may be cached, and all have to go.
    const mayBeTable = entry.level > 1 && (before & 0x80n & entry.space.read(entry.at)) === 0n
    if (isFirst) this.#firstChanged(entry, did, pasid ?? 0, mayBeTable, first?.levels === 5 ? 57 : 48)
    else this.#secondChanged(entry, did, mayBeTable)
  }

  #firstChanged(entry: Entry, did: number, pasid: number, mayBeTable: boolean, bits: number): void {
    const address = BigInt.asUintN(64, BigInt.asIntN(bits, entry.input))
    const am = 9 * (entry.level - 1) + (this.#rng.chance(0.3) ? this.#rng.int(4) : 0)
    if (mayBeTable || this.#rng.chance(0.2)) this.#driver.pasidIotlb(did, pasid)
    else this.#driver.pasidIotlbPages(did, pasid, address, am, this.#rng.bit())
  }

  #secondChanged(entry: Entry, did: number, mayBeTable: boolean): void {
    const am = 9 * (entry.level - 1)
    if (mayBeTable || am > 18 || this.#rng.chance(0.2)) this.#driver.iotlbDomain(did)
    else this.#driver.iotlbPages(did, entry.input, am, this.#rng.bit())
  }

  #flip(space: Space, base: bigint, table: readonly (readonly [number, readonly number[]])[]): void {
    const [word, bits] = this.#rng.pick(table)
    const at = base + BigInt(word) * 8n
    space.write(at, space.read(at) ^ (1n << BigInt(this.#rng.pick(bits))))
  }
}

/** What is wrong with the unit's answer, or undefined. */
function judge(
  expected: VtdResult,
  outcome: Outcome,
  records: readonly (readonly [bigint, bigint])[],
): string | undefined {
  const shown = records.map(([low, high]) => `${hex(low)} ${hex(high)}`).join('; ')
  const got = `status ${outcome.status} fault ${hex(outcome.fault)} address ${hex(outcome.address)} hit ${outcome.hit}, records [${shown}]`
  if (expected.ok) {
    if (outcome.status !== STATUS.OK || BigInt(outcome.address) !== expected.address) {
      return `the reference translates to ${hex(expected.address)}; ${got}`
    }
    return records.length === 0 ? undefined : `nothing should be recorded; ${got}`
  }
  const { reason, others, record } = expected
  const names = [reason, ...others].map(hex).join(' or ')
  const says = `the reference faults with ${names}, ${record === undefined ? 'silently' : `recording ${record.map(hex).join(' ')}`}; ${got}`
  if (outcome.status !== STATUS.FAULT && outcome.status !== STATUS.ABORTED) return says
  if (outcome.status === STATUS.FAULT && outcome.fault !== reason && !others.includes(outcome.fault)) return says
  if (record === undefined) return records.length === 0 ? undefined : says
  if (records.length !== 1) return says
  const [low, high] = records[0]
  const code = Number((high >> 32n) & 0xffn)
  if (code !== reason && !others.includes(code)) return says
  const sameReason = (record[1] & ~(0xffn << 32n)) | (BigInt(code) << 32n)
  // The address of 0x29 is undefined.
  return high === sameReason && (low === record[0] || code === 0x29) ? undefined : says
}
