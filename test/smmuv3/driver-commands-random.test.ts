/**
 * Guests that say anything: 128 bits by chance, mostly under an opcode that means something. Beside the driver stands
 * what Linux would make of each command, written from its rules; and a second guest, of whom nothing may be touched.
 */

import { describe, expect, it } from 'vitest'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import { invalidateCommands } from '../given.js'
import { Random } from '../hostile/random.js'
import { CommandView, SYNC, type Words } from './command-view.js'
import { Ear, IPA, NestedGuest, VSID } from './ear.js'
import { GUEST_RAM, PARENT, World } from './world.js'

const COMMANDS = 4000
const ONES_16 = 0xffffn
/** The units' names of the two devices. */
const [SID, OTHER_SID] = [8n, 0x1234n]
const OTHER_VSID = VSID + 1n

/** A unit by its ID registers, and what of them decides about commands. */
const UNITS = [
  { name: 'the default', ids: {}, ats: false, ril: true, ds: false },
  { name: 'ATS', ids: PRESETS.ats, ats: true, ril: true, ds: false },
  { name: 'everything', ids: PRESETS.full, ats: true, ril: true, ds: true },
  { name: 'no ranges', ids: { IDR3: PRESETS.default.IDR3 & ~(1 << 10) }, ats: false, ril: false, ds: false },
] as const

describe.each(UNITS)('random commands of a guest on a unit with $name', ({ ids, ats, ril, ds }) => {
  it.each([1, 2, 3])('reach the queue as Linux would put them there, or not at all: seed %i', (seed) => {
    const random = new Random(seed, COMMANDS)
    const world = new World(ids, { ats })
    world.driver.listener = new Ear()
    const guest = new NestedGuest(world)
    guest.viommu.addVdevice(world.a, VSID)
    world.a.set(0, guest.domain(undefined, ats ? (1n << 28n) | 2n : 2n), null)
    const victim = new Victim(world)
    expect(victim.look()).toBe(victim.before)
    victim.change()
    const vmid = world.ste(world.a)[2] & ONES_16
    expect(vmid).not.toBe(world.ste(world.b)[2] & ONES_16)
    invalidateCommands(guest.viommu, [{ dw0: 0x10n, dw1: 0n }])
    const view = new CommandView(world)
    const seen = { queued: 0, refused: 0 }
    for (let i = 0; i < COMMANDS; i++) {
      const [dw0, dw1] = dirt(random)
      const expected = linux(dw0, dw1, vmid, { ats, ril, ds })
      const { done, refusal } = invalidateCommands(guest.viommu, [{ dw0, dw1 }])
      const spelled = [seed, i, dw0.toString(16), dw1.toString(16)]
      expect([...spelled, view.take(), refusal?.name]).toEqual([...spelled, ...expected])
      expect(done).toBe(refusal === undefined ? 1 : 0)
      seen[refusal === undefined ? 'queued' : 'refused']++
    }
    expect(view.errors).toEqual([0, 0])
    expect(Math.min(seen.queued, seen.refused)).toBeGreaterThan(COMMANDS / 10)
    // What the unit keeps of the other guest's CD and tables is as stale as before.
    expect(victim.look()).toBe(victim.before)
    invalidateCommands(victim.viommu, [{ dw0: 0x30n, dw1: 0n }])
    expect(victim.look()).toBe(victim.after)
    invalidateCommands(victim.viommu, [{ dw0: 0x5n | (OTHER_VSID << 32n), dw1: 0n }])
    expect(victim.look()).toBe('C_BAD_CD')
  })
})

/** A guest on the device `b` with the same ASID and VA, whose page is cached and then changed. */
class Victim {
  readonly before = 'ok 10000a00000'
  readonly after = 'ok 10000b00000'
  readonly viommu
  readonly #world: World

  constructor(world: World) {
    this.#world = world
    const parent = world.driver.createPaging(world.b, PARENT)
    parent.map(IPA, GUEST_RAM, 0x4000_0000n, { read: true, write: true })
    this.viommu = world.driver.createViommu(world.b, parent)
    this.viommu.addVdevice(world.b, OTHER_VSID)
    const [cd, tables] = [0x30_0000, 0x31_0000]
    for (let level = 0; level < 3; level++) {
      world.poke(GUEST_RAM + tables + level * 4096, IPA + BigInt(tables + (level + 1) * 4096) + 3n)
    }
    this.#point(0xa0_0000n)
    world.poke(GUEST_RAM + cd, 0x0001_e205_c000_3510n)
    world.poke(GUEST_RAM + cd + 8, IPA + BigInt(tables))
    const given = { ste0: (IPA + BigInt(cd)) | 0xbn, ste1: 0n }
    const data = { kind: 'smmuv3_ste' as const, read: () => given as never }
    world.b.set(0, this.viommu.createUserDomain(world.b, data, { pasid: false }), null)
  }

  look(): string {
    return this.#world.dma(this.#world.b, 0x1000n)
  }

  /** Its table says something else, its CD is none any more, and nobody is told. */
  change(): void {
    this.#point(0xb0_0000n)
    this.#world.poke(GUEST_RAM + 0x30_0000, 0n)
  }

  #point(at: bigint): void {
    this.#world.poke(GUEST_RAM + 0x31_0000 + 3 * 4096 + 8, (IPA + at) | 0xf43n)
  }
}

/** A command: of any opcode, or of one that is taken; for any stream, or for one of the two guests'. */
function dirt(random: Random): Words {
  const taken = [0x05n, 0x06n, 0x10n, 0x11n, 0x12n, 0x13n, 0x30n, 0x40n]
  let [dw0, dw1] = [random.u64(), random.u64()]
  if (!random.oneIn(4)) dw0 = (dw0 & ~0xffn) | random.pick(taken)
  if (!random.oneIn(3)) dw0 &= ~(1n << 10n)
  if (!random.oneIn(4)) {
    const names = [VSID, VSID, VSID, OTHER_VSID, SID, OTHER_SID]
    dw0 = (dw0 & 0xffff_ffffn) | (random.pick(names) << 32n)
  }
  // Ranges that are nearly, or quite, the reserved one.
  if (random.oneIn(3)) dw0 &= ~(0x1fn << 12n)
  if (random.oneIn(3)) dw0 &= ~(0x1fn << 20n)
  if (random.oneIn(3)) dw1 &= ~(0x3n << 8n)
  if (random.oneIn(3)) dw1 &= ~0x3fn
  return [dw0, dw1]
}

/** What is in the queue afterwards, and the errno: Linux's rewriting, after the manual's own CERROR_ILL. */
function linux(
  dw0: bigint,
  dw1: bigint,
  vmid: bigint,
  { ats, ril, ds }: { ats: boolean; ril: boolean; ds: boolean },
): [queue: (Words | typeof SYNC)[], errno: string | undefined] {
  const opcode = Number(dw0 & 0xffn)
  const no: [[], string] = [[], 'EIO']
  if (opcode === 0x30) return [[[0x10n | (vmid << 32n), 0n], SYNC], undefined]
  if (opcode >= 0x10 && opcode <= 0x13) {
    const [tg, ttl] = [(dw1 >> 10n) & 3n, (dw1 >> 8n) & 3n]
    const [num, scale] = [(dw0 >> 12n) & 31n, (dw0 >> 20n) & (ds ? 63n : 31n)]
    const hasLevel = ttl !== 0n && !(ttl === 1n && tg === 2n && !ds)
    // [SMMU 4.4.1.1] A granule and no more.
    if (opcode >= 0x12 && ril && tg !== 0n && num === 0n && scale === 0n && !hasLevel) return no
    return [[[(dw0 & ~(ONES_16 << 32n)) | (vmid << 32n), dw1], SYNC], undefined]
  }
  if (opcode !== 0x05 && opcode !== 0x06 && opcode !== 0x40) return no
  if (dw0 >> 32n !== VSID) return no
  const mine: Words = [(dw0 & 0xffff_ffffn) | (SID << 32n), dw1]
  if (opcode === 0x40) {
    if (!ats) return [[SYNC], undefined]
    return (dw1 & 0x3fn) > 52n ? no : [[SYNC, mine, SYNC], undefined]
  }
  return (dw0 >> 10n) & 1n ? no : [[mine, SYNC], undefined]
}
