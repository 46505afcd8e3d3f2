/** What may happen in an epoch, chapter by chapter: plain accesses, invalidations, refused descriptors, full records. */

import { REGISTER } from '../../../hw-model/vtd/index.js'
import type { Rng } from '../../simulation/rng.js'
import { DESCRIPTORS, type Descriptor, WAIT } from './descriptors.js'
import { levelLg2 } from './entries.js'
import { REQUESTERS } from './machine.js'
import type { Change, Pair } from './pair.js'
import { PLACE } from './places.js'
import { GCMD, type Invalidations } from './queue.js'
import { VTD_QUIRKS, type VtdQuirk } from './quirks.js'
import type { Device, Leaf, World } from './world.js'

/** Everything that a chapter needs. */
export interface Scene {
  readonly rng: Rng
  readonly world: World
  readonly pair: Pair
  readonly queue: Invalidations
  /** Descriptors of 32 bytes. */
  readonly isWide: boolean
  /** The epoch has its cases. */
  isFull(): boolean
}

/** Something that may happen. */
export interface Chapter {
  readonly weight: number
  tell(scene: Scene): void
}

/** A place to access. */
export interface Target {
  readonly device: Device
  readonly leaf: Leaf | null
  readonly va: bigint
}

/** Both forget everything that they may have kept. */
export function flush({ queue, pair, world }: Scene, why: string): void {
  const pasids = world.wanted.isScalable ? [DESCRIPTORS.pasidCacheGlobal()] : []
  queue.run([DESCRIPTORS.contextGlobal(), ...pasids, DESCRIPTORS.iotlbGlobal()], why)
  pair.emptied()
}

/** A device, those without tables less often. */
export function pickDevice({ rng, world }: Scene): Device {
  const device = rng.pick(world.devices)
  return device.kind !== 'tables' && rng.chance(0.5) ? rng.pick(world.devices) : device
}

const dataAddress = (rng: Rng): bigint => BigInt(PLACE.DATA + 4 * rng.int(0x800000))

/** An address, mostly one that is mapped. */
export function pickTarget(scene: Scene, device: Device): Target {
  const { rng } = scene
  const { domain } = device
  if (domain === null || domain.leaves.length === 0) return { device, leaf: null, va: dataAddress(rng) }
  const leaf = rng.pick(domain.leaves)
  const va = inside(rng, leaf)
  const straysOften = domain.tables.stage === 1 || !scene.world.wanted.isScalable
  if (rng.chance(straysOften ? 0.93 : 0.99)) return { device, leaf, va }
  return { device, leaf: null, va: va ^ (1n << BigInt(rng.between(12, domain.bits - 1))) }
}

/** A word of a leaf. */
export const inside = (rng: Rng, leaf: Leaf): bigint => leaf.input + rng.pick(leaf.offsets) + BigInt(4 * rng.int(1024))

/** The direction of an access: some requesters only write. */
const pickWrite = (rng: Rng, { device }: Device): boolean => !REQUESTERS[device].kind.canRead || rng.chance(0.35)

/** What an access would have met before something changed: excuses that still hold while it is not told. */
export interface Foresight {
  readonly read: readonly VtdQuirk[]
  readonly write: readonly VtdQuirk[]
  /** Neither would reach devices. */
  readonly isSafe: boolean
}

/** Looks at an access before an edit. */
export function foresee({ pair }: Scene, { device, va }: Target): Foresight {
  const [read, write] = [pair.foresee(device.sid, va, false), pair.foresee(device.sid, va, true)]
  return { read: read.quirks, write: write.quirks, isSafe: read.isSafe && write.isSafe }
}

/** One access. Whatever an excuse covers as a whole may have left different entries behind, so both forget all. */
export function access(
  scene: Scene,
  target: Target,
  change: Change = '',
  before: Foresight | null = null,
  also: readonly VtdQuirk[] = [],
): boolean {
  const { pair, rng } = scene
  if (scene.isFull()) return false
  const isWrite = pickWrite(rng, target.device)
  const history = before === null ? also : [...(isWrite ? before.write : before.read), ...also]
  const isMade = pair.dma(target.device.device, target.va, isWrite, change, history)
  if (!isMade) return false
  const hidden = pair.cases.at(-1)?.quirks.map((name) => VTD_QUIRKS[name].hides) ?? []
  // A record that only one of them has must not wait for what comes.
  if (pair.keepsRecords && hidden.some((hides) => typeof hides === 'string')) pair.clearRecord()
  if (hidden.includes('answer')) flush(scene, 'after a case that is excused')
  return true
}

/** Nothing is edited. */
const plain: Chapter = {
  weight: 60,
  tell: (scene) => {
    access(scene, pickTarget(scene, pickDevice(scene)))
  },
}

/** Any invalidation, while nothing is stale. */
const noise: Chapter = {
  weight: 5,
  tell: ({ rng, world, queue }) => {
    const { did } = rng.chance(0.7) ? rng.pick(world.devices) : { did: rng.int(0x10000) }
    const { sid } = rng.pick(REQUESTERS)
    const address = rng.bits(64)
    const page = DESCRIPTORS.iotlbPage(did, address, rng.int(19), rng.chance(0.5))
    const legacy = [
      DESCRIPTORS.contextGlobal(),
      DESCRIPTORS.contextDomain(did),
      DESCRIPTORS.contextDevice(did, rng.chance(0.7) ? sid : rng.int(0x10000), rng.int(4)),
      DESCRIPTORS.iotlbGlobal(),
      DESCRIPTORS.iotlbDomain(did),
      page,
      page,
    ]
    const scalable = [
      DESCRIPTORS.pasidCacheGlobal(),
      DESCRIPTORS.pasidCacheDomain(did),
      DESCRIPTORS.pasidCache(did, rng.int(2)),
      DESCRIPTORS.pasidIotlb(did, rng.int(2)),
      DESCRIPTORS.pasidIotlbPage(did, rng.int(2), address, rng.int(19), rng.chance(0.5)),
    ]
    const { DT, PDS } = world.wanted.ecap
    // Nobody who is asked keeps anything, or is there at all.
    const to = rng.chance(0.5) ? sid : rng.int(0x10000)
    const devices = [DESCRIPTORS.deviceTlb(to, address, rng.chance(0.5))]
    if (world.wanted.isScalable) devices.push(DESCRIPTORS.pasidDeviceTlb(to, rng.int(2), address, rng.chance(0.5)))
    const some = [
      ...legacy,
      ...(world.wanted.isScalable ? scalable : []),
      ...(DT !== 0 && queue.hasQueue ? devices : []),
    ]
    const flags =
      rng.pick([WAIT.SW, WAIT.SW | WAIT.IF, WAIT.IF, WAIT.FN, WAIT.SW | WAIT.FN, WAIT.SW | WAIT.IF | WAIT.FN]) |
      (PDS !== 0 && rng.chance(0.3) ? WAIT.PD : 0n)
    queue.run(
      Array.from({ length: rng.between(1, 4) }, () => rng.pick(some)),
      '',
      flags,
    )
  },
}

/** An answer to a request with PASID 0. [VTD 7.6.1 Page Group Response Descriptor] */
const pageResponse: Descriptor = [9n | (1n << 4n) | (8n << 16n), 0n]

/** Types that no mode has. */
const NO_TYPES: readonly bigint[] = [0x0n, 0xbn, 0xcn, 0xdn, 0xen, 0xfn, 0x201n, 0x202n, 0x205n, 0xe06n]

/** Descriptors that both must refuse. [VTD 6.5.2.1 to 6.5.2.11] */
function refusedByBoth({ rng, world, isWide }: Scene): Descriptor {
  const did = rng.int(0x10000)
  const kinds: (() => Descriptor)[] = [
    () => [rng.pick(NO_TYPES), 0n],
    () => [1n | (BigInt(did) << 16n), 0n],
    () => [2n | (BigInt(did) << 16n), 0n],
    () => DESCRIPTORS.iotlbPage(did, rng.bits(48), rng.between(19, 63), false),
    () => [DESCRIPTORS.contextGlobal()[0] | (1n << BigInt(rng.between(50, 63))), 0n],
    () => [DESCRIPTORS.contextGlobal()[0], 1n << BigInt(rng.int(64))],
    () => [DESCRIPTORS.iotlbGlobal()[0] | (1n << BigInt(rng.between(32, 63))), 0n],
    () => [DESCRIPTORS.iotlbGlobal()[0], 1n << BigInt(rng.between(7, 11))],
    () => [5n | WAIT.SW | (1n << BigInt(rng.between(12, 31))), BigInt(PLACE.STATUS)],
  ]
  if (isWide) {
    kinds.push(
      () => [DESCRIPTORS.iotlbGlobal()[0], 0n, 1n << BigInt(rng.int(64)), 0n],
      () => [DESCRIPTORS.contextGlobal()[0], 0n, 0n, 1n << BigInt(rng.int(64))],
    )
  }
  const { PDS } = world.wanted.ecap
  if (PDS === 0) kinds.push(() => [5n | WAIT.SW | WAIT.PD, BigInt(PLACE.STATUS)])
  if (world.wanted.isScalable) {
    kinds.push(
      () => [6n | (BigInt(rng.int(2)) << 4n), 0n],
      () => [7n | (2n << 4n), 0n],
      () => [DESCRIPTORS.pasidIotlb(did, 0)[0] | (1n << BigInt(rng.between(52, 63))), 0n],
      () => [DESCRIPTORS.pasidCacheGlobal()[0] | (1n << BigInt(rng.between(52, 63))), 0n],
    )
  } else if (!isWide) {
    kinds.push(
      () => DESCRIPTORS.pasidIotlb(did, 0),
      () => DESCRIPTORS.pasidCacheGlobal(),
    )
  }
  return rng.pick(kinds)()
}

/** What this part must refuse and the reference takes. */
function takenByReference({ rng, isWide, world }: Scene): Descriptor {
  const lacksDevices = world.wanted.ecap.DT === 0
  const some: Descriptor[] = [
    [4n, 0n],
    [4n | (1n << 4n), 0n],
  ]
  if (lacksDevices) some.push(DESCRIPTORS.deviceTlb(8, 0n, false))
  if (world.wanted.ecap.PRS === 0) some.push(pageResponse)
  if (isWide && !world.wanted.isScalable) some.push(DESCRIPTORS.pasidIotlb(1, 0), DESCRIPTORS.pasidCacheGlobal())
  if (isWide && lacksDevices) some.push(DESCRIPTORS.pasidDeviceTlb(8, 0, 0n, false))
  return rng.pick(some)
}

/** Descriptors and tails that are refused. */
const refused: Chapter = {
  weight: 3,
  tell: (scene) => {
    const { rng, queue, pair, isWide, world } = scene
    if (!queue.hasQueue) return
    const roll = rng.int(10)
    if (roll === 0) {
      queue.runUnlike(takenByReference(scene))
      pair.excuse('DESCRIPTOR_TAKEN')
    } else if (roll === 1) {
      queue.runUnlike([5n, 0n])
      pair.excuse('WAIT_IDLE')
    } else if (roll === 2 && world.wanted.isScalable) {
      queue.runUnlike(DESCRIPTORS.pasidIotlbPage(rng.int(0x10000), 0, rng.bits(64), rng.between(19, 63), false))
      pair.excuse('PASID_RANGE')
    } else if (roll === 3 && isWide) {
      queue.ring(16)
      queue.recover()
    } else queue.run([DESCRIPTORS.iotlbDomain(rng.int(0x10000)), refusedByBoth(scene)], 'refused')
    access(scene, pickTarget(scene, pickDevice(scene)))
  },
}

/** The record is not taken note of: the next fault of another function overflows. [VTD 7.2.1 Primary Fault Logging] */
const overflow: Chapter = {
  weight: 2,
  tell: (scene) => {
    const { rng, pair, world } = scene
    // One function's faults may be merged, and the reference does that.
    const devices = world.devices.filter(({ domain }) => domain !== null)
    if (devices.length < 2) return
    const [first, second] = rng.chance(0.5) ? devices : [...devices].reverse()
    const lost = (device: Device): Target => {
      const bits = (device.domain?.bits ?? 39) - 1
      return { device, leaf: null, va: (rng.bits(bits) >> 12n) << 12n }
    }
    pair.keepsRecords = true
    const isFirst = access(scene, lost(first)) && pair.cases.at(-1)?.ours.record != null
    // What is known to differ in the record still does.
    const quirks = pair.cases.at(-1)?.quirks ?? []
    if (isFirst && quirks.every((name) => typeof VTD_QUIRKS[name].hides !== 'string')) {
      access(scene, lost(second), '', null, quirks)
      if (rng.chance(0.5)) access(scene, lost(second), '', null, quirks)
    }
    pair.keepsRecords = false
    pair.clearRecord()
    pair.check(REGISTER.FSTS, 'FSTS')
    pair.check(REGISTER.FECTL, 'FECTL')
  },
}

/** The unit is off for a moment: everything passes. */
const disabled: Chapter = {
  weight: 1,
  tell: (scene) => {
    const { rng, pair, queue } = scene
    queue.command(GCMD.TE, false)
    pair.state.enabled = false
    const device = rng.pick(scene.world.devices)
    for (let i = rng.between(1, 2); i > 0; i--) access(scene, { device, leaf: null, va: dataAddress(rng) })
    queue.command(GCMD.TE, true)
    pair.state.enabled = true
    flush(scene, 'translation was off')
  },
}

/** Bytes of a leaf, as a power of two. */
export const lg2Of = ({ level }: Leaf): number => levelLg2(level)

/** Chapters in which memory does not change. */
export const STILL_CHAPTERS: readonly Chapter[] = [plain, noise, refused, overflow, disabled]
