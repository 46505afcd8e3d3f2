/** Chapters in which entries change, with and without the invalidations that say so. */

import { DESCRIPTORS, type Descriptor } from './descriptors.js'
import { addressIn, BIT, LEAF_1, LEAF_2 } from './entries.js'
import { REQUESTERS } from './machine.js'
import { PLACE } from './places.js'
import {
  access,
  type Chapter,
  flush,
  foresee,
  inside,
  lg2Of,
  pickDevice,
  pickTarget,
  type Scene,
  type Target,
} from './scenes.js'
import type { Device, Domain, Leaf } from './world.js'

/** A leaf of some device, to be edited. */
function pickLeaf(scene: Scene): (Target & { readonly leaf: Leaf; readonly domain: Domain }) | null {
  const { rng, world } = scene
  const devices = world.devices.filter(({ domain }) => domain !== null && domain.leaves.length > 0)
  if (devices.length === 0) return null
  const device = rng.pick(devices)
  const domain = device.domain as Domain
  const leaf = rng.pick(domain.leaves)
  return { device, domain, leaf, va: inside(rng, leaf) }
}

/** Another device with the same tables, or the same. */
function sibling({ rng, world }: Scene, target: Target): Target {
  const alike = world.devices.filter(({ domain }) => domain === target.device.domain)
  return { ...target, device: rng.pick(alike) }
}

/** Drops what is kept of a leaf. [VTD 6.5.2.3 T23, 6.5.2.4 T24] */
function dropLeaf({ rng, pair, world }: Scene, domain: Domain, leaf: Leaf, va: bigint): Descriptor {
  pair.forget(va, lg2Of(leaf))
  const { did, tables } = domain
  const any = [DESCRIPTORS.iotlbGlobal(), DESCRIPTORS.iotlbDomain(did)]
  if (rng.chance(0.3)) return rng.pick(any)
  const am = rng.chance(0.6) ? 9 * leaf.level : rng.int(19)
  const ih = rng.chance(0.5)
  if (tables.stage === 2) {
    if (world.wanted.isScalable && rng.chance(0.2)) return DESCRIPTORS.pasidIotlb(did, 0)
    return DESCRIPTORS.iotlbPage(did, va, am, ih)
  }
  return rng.pick([
    DESCRIPTORS.pasidIotlb(did, 0),
    DESCRIPTORS.pasidIotlbPage(did, 0, va, am, ih),
    DESCRIPTORS.pasidIotlbPage(did, 0, va, rng.int(19), ih),
    // Its address is one of the second stage, so every entry of the first goes.
    DESCRIPTORS.iotlbPage(did, rng.bits(48), rng.int(19), ih),
  ])
}

/** Must drop nothing that is kept of a leaf. */
function spareLeaf({ rng, world }: Scene, domain: Domain, leaf: Leaf, va: bigint): Descriptor {
  const { did, tables } = domain
  const other = did ^ (1 << rng.int(16))
  const away = va ^ (1n << BigInt(lg2Of(leaf) + rng.int(4)))
  const am = rng.int(lg2Of(leaf) - 11)
  const some = [
    DESCRIPTORS.iotlbDomain(other),
    DESCRIPTORS.iotlbPage(other, va, rng.int(19), false),
    DESCRIPTORS.contextGlobal(),
    DESCRIPTORS.contextDevice(did, rng.pick(REQUESTERS).sid, rng.int(4)),
  ]
  if (tables.stage === 2)
    some.push(DESCRIPTORS.iotlbPage(did, away, am, false), DESCRIPTORS.iotlbPage(did, away, am, true))
  if (!world.wanted.isScalable) return rng.pick(some)
  // Second-stage entries have nothing to fear from the page form.
  if (tables.stage === 2 && rng.chance(0.3)) return DESCRIPTORS.pasidIotlbPage(did, 0, va, rng.int(19), false)
  some.push(
    DESCRIPTORS.pasidCacheGlobal(),
    DESCRIPTORS.pasidCache(did, 0),
    DESCRIPTORS.pasidIotlb(did, 1),
    DESCRIPTORS.pasidIotlb(other, 0),
    DESCRIPTORS.pasidIotlbPage(did, 1, va, rng.int(19), false),
    DESCRIPTORS.pasidIotlbPage(other, 0, va, rng.int(19), false),
  )
  if (tables.stage === 1) some.push(DESCRIPTORS.pasidIotlbPage(did, 0, away, am, false))
  return rng.pick(some)
}

/** A new last entry for a leaf: moved, with other rights, gone, or back. */
function newEntry({ rng, pair, world }: Scene, { tables }: Domain, leaf: Leaf): bigint {
  const old = pair.ram.get(leaf.slot)
  const lg2 = lg2Of(leaf)
  const fresh = (tables.stage === 1 ? LEAF_1 : LEAF_2) | (leaf.level > 0 ? BIT.PS : 0n)
  const isData = lg2 > 25 || addressIn(old, lg2) >= PLACE.DATA
  const kept = BigInt(isData ? addressIn(old, lg2) : PLACE.DATA)
  const moved = lg2 > 25 ? 0 : rng.between(PLACE.DATA / 2 ** lg2, PLACE.END / 2 ** lg2 - 1) * 2 ** lg2
  const isQuiet = tables.stage === 2 && world.wanted.isScalable
  switch (isQuiet && rng.chance(0.9) ? 9 : rng.int(12)) {
    case 0:
    case 1:
      return 0n
    case 2:
      return (fresh & ~BIT.W) | kept
    case 3:
      return (fresh & ~(tables.stage === 1 ? BIT.US : BIT.R)) | kept
    case 4:
      return fresh | kept
    default:
      return fresh | BigInt(moved)
  }
}

/** A leaf: accessed, edited, accessed while stale, told in the wrong way, and told. */
const leafEdit: Chapter = {
  weight: 22,
  tell: (scene) => {
    const { rng, pair, queue } = scene
    const target = pickLeaf(scene)
    if (target === null) return
    const { leaf, va, domain } = target
    if (rng.chance(0.85)) access(scene, target)
    const before = foresee(scene, target)
    if (!before.isSafe) return
    pair.poke(leaf.slot, newEntry(scene, domain, leaf), 'leaf')
    access(scene, sibling(scene, target), 'stale', before)
    if (rng.chance(0.4)) {
      queue.run([spareLeaf(scene, domain, leaf, va)], 'spares it')
      access(scene, target, 'stale', before)
    }
    queue.run([dropLeaf(scene, domain, leaf, va)], 'drops it')
    access(scene, sibling(scene, target), 'rewalked')
  },
}

/** A table is unlinked, and linked again. */
const unlinked: Chapter = {
  weight: 5,
  tell: (scene) => {
    const { rng, pair, queue, world } = scene
    const target = pickLeaf(scene)
    if (target === null || (world.wanted.isScalable && world.wanted.stage === 2)) return
    const { leaf, va, domain } = target
    const path = domain.tables.path(va)
    if (path.length < 2) return
    access(scene, target)
    const before = foresee(scene, target)
    if (!before.isSafe) return
    const slot = path[rng.int(path.length - 1)]
    const old = pair.ram.get(slot)
    const rights = domain.tables.stage === 1 ? BIT.P | BIT.RW | BIT.US | BIT.A : BIT.R | BIT.W
    pair.poke(slot, rng.chance(0.6) ? 0n : BigInt(PLACE.END) | rights, 'table')
    access(scene, sibling(scene, target), 'stale', before)
    const drop = (): void => queue.run([dropLeaf(scene, domain, leaf, va)], 'drops it')
    drop()
    access(scene, target, 'rewalked')
    pair.poke(slot, old, 'table')
    // What faults is kept by nobody, unless the unit says that it may be. [VTD 6.1 Caching Mode]
    if (pair.state.caps.cap.CM !== 0) flush(scene, 'as caching mode asks')
    access(scene, sibling(scene, target), 'rewalked')
  },
}

const wordsAt = ({ pair }: Scene, at: number, count: number): bigint[] =>
  Array.from({ length: count }, (_, i) => pair.ram.get(at + 8 * i))

function put({ pair }: Scene, at: number, words: readonly bigint[], why: string): void {
  for (const [i, word] of words.entries()) pair.poke(at + 8 * i, word, why)
}

/** Drops a device's context entry, and what was made with the domain-ids that it had and has. [VTD 6.2.2.1] */
function dropContext({ rng, world, pair }: Scene, device: Device, dids: readonly number[]): readonly Descriptor[] {
  const { sid } = device
  pair.emptied()
  // Function bits that are masked do not count. [VTD 6.5.2.1]
  const fm = rng.int(4)
  const masked = sid ^ (rng.int(8) & [0, 4, 6, 7][fm])
  const contexts = rng.chance(0.3)
    ? [DESCRIPTORS.contextGlobal()]
    : dids.map((did) => DESCRIPTORS.contextDevice(did, masked, fm))
  const pasids = world.wanted.isScalable ? [DESCRIPTORS.pasidCacheGlobal()] : []
  return [...contexts, ...pasids, ...dids.map((did) => DESCRIPTORS.iotlbDomain(did))]
}

/** A context entry changes under its device. */
const contextEdit: Chapter = {
  weight: 7,
  tell: (scene) => {
    const { rng, pair, queue, world } = scene
    const device = pickDevice(scene)
    if (device.kind === 'absent') return
    // Walked for certain, so that both have the entry.
    queue.run([DESCRIPTORS.iotlbGlobal()])
    pair.emptied()
    const target = pickTarget(scene, device)
    if (!access(scene, target) || pair.cases.at(-1)?.isConfigured !== true) return
    if (pair.cases.at(-1)?.quirks.some((name) => name !== 'CACHED_DENIAL')) return
    const again = { ...target, ...(rng.chance(0.4) ? target : pickTarget(scene, device)) }
    const before = foresee(scene, again)
    if (!before.isSafe) return
    const size = world.wanted.isScalable ? 4 : 2
    const old = wordsAt(scene, device.context, size)
    const other = rng.pick(world.devices)
    const next = wordsAt(scene, other.context, size)
    const isGone = rng.chance(world.wanted.isScalable ? 0.1 : 0.4)
    put(scene, device.context, isGone ? [old[0] & ~1n, ...old.slice(1)] : next, 'context entry')
    access(scene, again, 'stale', before)
    const dids = [...new Set([device.did, other.did])]
    if (rng.chance(0.4)) {
      queue.run(rng.pick([[DESCRIPTORS.iotlbGlobal()], dids.map((did) => DESCRIPTORS.iotlbDomain(did))]), 'spares it')
      access(scene, again, 'stale', before)
    }
    queue.run(dropContext(scene, device, dids), 'drops it')
    access(scene, again, 'rewalked')
    put(scene, device.context, old, 'context entry')
    queue.run(dropContext(scene, device, dids), 'drops it')
    if (rng.chance(0.3)) access(scene, target, 'rewalked')
  },
}

/** A PASID table entry becomes another domain's: what was kept of the old one outlives it. [VTD 6.2.4.1 IOTLB] */
const pasidEdit: Chapter = {
  weight: 9,
  tell: (scene) => {
    const { rng, pair, queue, world } = scene
    const device = pickDevice(scene)
    const { domain } = device
    if (!world.wanted.isScalable || domain === null) return
    const target = pickTarget(scene, device)
    if (!access(scene, target) || pair.cases.at(-1)?.isConfigured !== true) return
    const before = foresee(scene, target)
    if (!before.isSafe || pair.cases.at(-1)?.ends !== 'translated') return
    const other = rng.pick(world.devices.filter((each) => each.domain !== null))
    const old = wordsAt(scene, device.pasid, 8)
    const isGone = rng.chance(0.04)
    put(scene, device.pasid, isGone ? [old[0] & ~1n, ...old.slice(1)] : wordsAt(scene, other.pasid, 8), 'PASID entry')
    access(scene, target, 'stale', before)
    if (rng.chance(0.5) && !isGone && other.domain !== domain) {
      queue.run([rng.pick([DESCRIPTORS.pasidIotlb(other.did, 0), DESCRIPTORS.iotlbDomain(other.did)])], 'spares it')
      access(scene, target, 'stale', before)
    }
    const iotlb = rng.pick([DESCRIPTORS.iotlbDomain(device.did), DESCRIPTORS.pasidIotlb(device.did, 0)])
    queue.run(
      [rng.pick([DESCRIPTORS.pasidCache(device.did, 0), DESCRIPTORS.pasidCacheDomain(device.did)]), iotlb],
      'drops it',
    )
    pair.emptied()
    access(scene, target, 'rewalked', null, isGone ? ['PASID_PRESENT'] : [])
    put(scene, device.pasid, old, 'PASID entry')
    flush(scene, 'drops everything')
  },
}

/** An invalidation whose operands the reference misreads. */
const misread: Chapter = {
  weight: 1,
  tell: (scene) => {
    const { rng, pair, queue } = scene
    const target = pickLeaf(scene)
    if (target === null) return
    const { leaf, va, domain } = target
    if (!access(scene, target)) return
    const before = foresee(scene, target)
    if (!before.isSafe) return
    pair.poke(leaf.slot, newEntry(scene, domain, leaf), 'leaf')
    const { did, tables, bits } = domain
    if (tables.stage === 2 && bits === pair.state.caps.mgawBits) {
      const high = BigInt.asUintN(64, va | (1n << BigInt(rng.between(bits, 62))))
      queue.run([DESCRIPTORS.iotlbPage(did, high, 9 * leaf.level, false)], 'drops it')
      access(scene, target, 'rewalked', before, ['IOTLB_ADDRESS'])
    }
    flush(scene, 'drops everything')
  },
}

/** Chapters of edited entries. */
export const EDIT_CHAPTERS: readonly Chapter[] = [leafEdit, unlinked, contextEdit, pasidEdit, misread]
