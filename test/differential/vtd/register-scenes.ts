/** Chapters about registers: what they keep, what only SRTP latches, events that wait, a queue that is off for a while. */

import { REGISTER } from '../../../hw-model/vtd/index.js'
import { DESCRIPTORS, WAIT } from './descriptors.js'
import { access, type Chapter, pickDevice, pickTarget } from './scenes.js'

/**
 * Registers that software may store into without starting anything. The upper address registers may read as 0 in a unit
 * without EIM, and more than 16 bits of data are anybody's choice. [VTD 11.4.7.3 Fault Event Data Register]
 */
const STORED: readonly { readonly at: number; readonly name: string; readonly mask: number }[] = [
  { at: REGISTER.FEDATA, name: 'FEDATA', mask: 0xffff },
  { at: REGISTER.FEADDR, name: 'FEADDR', mask: -1 },
  { at: REGISTER.IEDATA, name: 'IEDATA', mask: 0xffff },
  { at: REGISTER.IEADDR, name: 'IEADDR', mask: -1 },
]

/** What nobody can write: capabilities, commands that read as 0, and places without a register. */
const READ_ONLY: readonly number[] = [
  ...[REGISTER.VER, REGISTER.CAP, REGISTER.CAP + 4, REGISTER.ECAP, REGISTER.ECAP + 4],
  ...[0x04, REGISTER.GCMD, 0x30, 0x48, 0x50, 0x58, 0x5c, 0x60],
  ...[0x64, 0x68, 0x6c, 0x70, 0x74, 0x78, 0x7c, 0xf0, 0xf4, 0x210],
]

/** GCMD, where a store of chance would start something, and the halves of IVA read as 0. */
const NEVER_STORED: readonly number[] = [REGISTER.GCMD, 0xf0, 0xf4]

/** Stores and reads. */
const stored: Chapter = {
  weight: 3,
  tell: (scene) => {
    const { rng, pair } = scene
    const { at, name, mask } = rng.pick(STORED)
    pair.write(at, 4, rng.bits(32))
    pair.check(at, name, mask)
    const fixed = rng.pick(READ_ONLY)
    if (!NEVER_STORED.includes(fixed) && rng.chance(0.5)) pair.write(fixed, 4, rng.bits(32))
    pair.check(fixed, `register 0x${fixed.toString(16)}`)
    access(scene, pickTarget(scene, pickDevice(scene)))
  },
}

/** A root that was written and not latched. [VTD 6.6 Set Root Table Pointer Operation] */
const unlatched: Chapter = {
  weight: 2,
  tell: (scene) => {
    const { rng, pair } = scene
    const [low, high] = [rng.bits(32), rng.bits(16)]
    if (rng.chance(0.5)) pair.write(REGISTER.RTADDR, 8, (high << 32n) | low)
    else {
      pair.write(REGISTER.RTADDR + 4, 4, high)
      pair.write(REGISTER.RTADDR, 4, low)
    }
    // [VTD 11.4.5 Root Table Address Register] Bits 9 and 8 are reserved.
    pair.check(REGISTER.RTADDR, 'RTADDR', ~0x3ff)
    pair.check(REGISTER.RTADDR + 4, 'RTADDR')
    access(scene, pickTarget(scene, pickDevice(scene)))
  },
}

/** IM of an event, which is what holds it back. */
const IM = 1n << 31n

/** Events are let through for a moment: what waits is sent, and no longer waits. [VTD 7.3, 6.5.2.10] */
const unmasked: Chapter = {
  weight: 2,
  tell: (scene) => {
    const { rng, pair, queue } = scene
    pair.write(REGISTER.FEADDR, 4, 0xfee00000n)
    pair.write(REGISTER.IEADDR, 4, 0xfee00000n)
    pair.write(REGISTER.FEDATA, 4, 0x41n)
    pair.write(REGISTER.IEDATA, 4, 0x42n)
    const isEarly = rng.chance(0.5)
    const unmask = (): void => {
      for (const at of [REGISTER.FECTL, REGISTER.IECTL]) pair.write(at, 4, 0n)
    }
    if (isEarly) unmask()
    pair.keepsRecords = true
    access(scene, pickTarget(scene, pickDevice(scene)))
    pair.keepsRecords = false
    pair.check(REGISTER.FECTL, 'FECTL')
    if (!isEarly) unmask()
    pair.check(REGISTER.FECTL, 'FECTL')
    pair.clearRecord()
    if (queue.hasQueue) queue.waitFor(WAIT.IF | WAIT.SW)
    for (const at of [REGISTER.FECTL, REGISTER.IECTL]) {
      pair.check(at, 'an event')
      pair.write(at, 4, IM)
      pair.check(at, 'an event')
    }
    access(scene, pickTarget(scene, pickDevice(scene)))
  },
}

/** The queue is off; legacy mode has registers meanwhile. [VTD 6.5.1 Register-based Invalidation Interface] */
const requeued: Chapter = {
  weight: 1,
  tell: (scene) => {
    const { rng, queue, pair, world } = scene
    if (!queue.hasQueue) return
    queue.finish()
    if (!world.wanted.isScalable) {
      access(scene, pickTarget(scene, pickDevice(scene)))
      const { did } = rng.pick(world.devices)
      queue.run([rng.pick([DESCRIPTORS.iotlbGlobal(), DESCRIPTORS.iotlbDomain(did), DESCRIPTORS.contextGlobal()])])
    }
    queue.start(rng.int(3))
    pair.check(REGISTER.FSTS, 'FSTS')
    access(scene, pickTarget(scene, pickDevice(scene)))
  },
}

/** Chapters of registers. */
export const REGISTER_CHAPTERS: readonly Chapter[] = [stored, unlatched, unmasked, requeued]
