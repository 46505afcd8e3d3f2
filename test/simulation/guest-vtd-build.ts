/** Devices of a random VT-d guest, their context and PASID entries, and what each is attached to. */

import type { Domain, Ground } from './guest-vtd-domains.js'
import type { Ram } from './ram.js'

/** One context entry of legacy mode, or one PASID table entry, and what it leads to. */
export interface Attachment {
  readonly device: Device
  /** undefined in legacy mode. */
  readonly pasid: number | undefined
  readonly at: bigint
  domain: Domain
}

/** One function with its context entry. */
export interface Device {
  readonly sid: number
  readonly context: bigint
  readonly directoryEntries: Map<bigint, Attachment[]>
  readonly attachments: Attachment[]
}

/** The whole guest. */
export interface Guest {
  readonly rootTable: bigint
  /** Where root entries are that are used. */
  readonly roots: readonly bigint[]
  readonly devices: readonly Device[]
  readonly domains: readonly Domain[]
  readonly isScalable: boolean
  /** First stages that share one identifier: each PASID always means the same of them. */
  readonly shared: readonly Domain[]
}

const PWSNP = 1n << 23n

/** The largest directory: a wrong size reads zeroes behind what is used. [VTD 9.4 PDTS] */
const DIRECTORY_BYTES = 8n << 14n

/** Attachments of a domain. */
export const attachedTo = (guest: Guest, domain: Domain): Attachment[] =>
  guest.devices.flatMap(({ attachments }) => attachments.filter((attachment) => attachment.domain === domain))

/** Builds root and context tables and all below them. */
export function buildGuest(ground: Ground, config: Ram, domains: readonly Domain[]): Guest {
  const { rng, isScalable } = ground
  const rootTable = config.allocate(4096n)
  const roots = new Set<bigint>()
  const sids = [...new Set([0x08, rng.int(256), 0x100 + rng.int(256), 0x1ff, rng.int(0x10000)])]
  const devices: Device[] = []
  const guest = {
    rootTable,
    roots: [] as bigint[],
    devices,
    domains,
    isScalable,
    shared: domains.filter((d) => d.isShared),
  }
  for (const sid of sids) {
    const at = rootTable + BigInt(sid >>> 8) * 16n + (isScalable ? BigInt((sid >>> 7) & 1) * 8n : 0n)
    roots.add(at)
    if (config.read(at) === 0n) config.write(at, config.allocate(4096n) | 1n)
    const table = config.read(at) & ~0xfffn
    const context = table + (isScalable ? BigInt(sid & 0x7f) * 32n : BigInt(sid & 0xff) * 16n)
    const device: Device = { sid, context, directoryEntries: new Map(), attachments: [] }
    devices.push(device)
    if (isScalable) buildScalable(ground, config, guest, device)
    else {
      const attachment = { device, pasid: undefined, at: context, domain: rng.pick(domains) }
      device.attachments.push(attachment)
      writeLegacy(ground, config, attachment)
    }
  }
  guest.roots.push(...roots)
  return guest
}

/** Writes a legacy context entry. [VTD 9.3 Context Entry] */
export function writeLegacy({ rng, features }: Ground, config: Ram, { at, domain }: Attachment): void {
  const { second, did } = domain
  const type = second === undefined ? 8n : features.dt && rng.chance(0.7) ? 4n : 0n
  // Pass-through has the largest width. [VTD 9.3 AW]
  const aw = second?.aw ?? Math.floor(Math.log2(features.sagaw))
  config.write(at + 8n, (BigInt(aw) | (BigInt(did) << 8n) | (rng.bits(4) << 3n)) ^ domain.twist[1])
  config.write(at, ((second?.tables.root ?? 0n) | 1n | (rng.bit(0.15) << 1n) | type) ^ domain.twist[0])
}

function buildScalable(ground: Ground, config: Ram, guest: Guest, device: Device): void {
  const { rng, features } = ground
  const pdts = rng.int(3)
  const count = 2 ** (pdts + 13)
  const directory = config.allocate(DIRECTORY_BYTES, 4096n)
  const ridPasid = features.rps ? rng.pick([0, 0, 1, rng.int(count)]) : 0
  const dte = rng.bit(features.dt ? 0.92 : 0)
  const pre = features.prs && rng.chance(0.8) ? dte : 0n
  const paside = rng.bit(features.pasid ? 0.95 : 0)
  const eptr = features.ptrs && rng.chance(0.7) ? paside : 0n
  const flags = (dte << 2n) | (paside << 3n) | (pre << 4n) | (eptr << 6n)
  const word = directory | (rng.bit(0.1) << 1n) | flags | (BigInt(pdts) << 9n)
  config.write(device.context + 8n, BigInt(ridPasid) | (rng.bit(features.rprivs ? 0.3 : 0) << 20n))
  config.write(device.context, word | rng.bit(0.97))
  const most = Math.min(count, 2 ** features.pasidBits)
  const pasids = [...new Set([ridPasid, rng.int(Math.min(64, most)), rng.int(most), most - 1])]
  for (const pasid of pasids) {
    const at = directory + BigInt(pasid >>> 6) * 8n
    if (config.read(at) === 0n) config.write(at, config.allocate(4096n) | 1n | (rng.bit(0.1) << 1n))
    const entry = (config.read(at) & ~0xfffn) + BigInt(pasid & 63) * 64n
    const attachment = { device, pasid, at: entry, domain: choose(ground, guest, pasid) }
    device.attachments.push(attachment)
    device.directoryEntries.set(at, [...(device.directoryEntries.get(at) ?? []), attachment])
    writePasid(ground, config, attachment, rng.bit(0.93))
  }
}

/** A domain for this PASID. First stages that share an identifier are told apart by it. [VTD 6.2.3.1] */
export function choose({ rng }: Ground, { domains, shared }: Pick<Guest, 'domains' | 'shared'>, pasid: number): Domain {
  const domain = rng.pick(domains)
  return domain.isShared ? shared[pasid % shared.length] : domain
}

/** Writes a PASID table entry, the word with P last. [VTD 9.6 Scalable-Mode PASID Table Entry] */
export function writePasid({ rng, features }: Ground, config: Ram, { at, domain }: Attachment, present = 1n): void {
  const { first, second, type, did } = domain
  const sre = rng.bit(features.srs ? 0.85 : 0)
  const snooped = features.smpwcs && rng.chance(0.95) ? PWSNP : 0n
  const words = [
    (second?.tables.root ?? 0n) |
      present |
      (rng.bit(0.1) << 1n) |
      (BigInt(second?.aw ?? 2) << 2n) |
      (BigInt(type) << 6n) |
      (BigInt(second?.ssade ?? false) << 9n),
    BigInt(did) | snooped | (rng.bit(features.sc ? 0.3 : 0) << 24n),
    (first?.tables.root ?? 0n) |
      sre |
      (BigInt(first?.levels === 5) << 2n) |
      (rng.bit(features.fsts ? 0.5 : 0) << 4n) |
      (rng.bits(2) << 5n) |
      (BigInt(first?.eafe ?? false) << 7n),
  ]
  for (const i of [2, 1, 0]) config.write(at + BigInt(i) * 8n, words[i] ^ domain.twist[i])
}
