/** Random ioctls of the right form, on real drivers: nothing but refusals, and nothing left at the end. */

import { describe, expect, it } from 'vitest'
import { Refusal } from '../../server/core/refusal.js'
import { createMachine } from '../../server/drivers/machine.js'
import { DEFAULT_PLATFORM } from '../../server/drivers/platform.js'
import { Random } from '../hostile/random.js'
import { SelftestDoor, TEST } from '../selftest/door.js'
import { bytesOf, Door, type Member, memory, word, words } from './door.js'
import { ARM, files, INTEL, newHwpt } from './world.js'

const CALLS = 1500
const DATA = 0x2000_0000n
const REGION = 0x1000_0000n
const ALL = 2n ** 64n - 1n

/** Members of each command behind `size`: bytes, and what they are. */
const COMMANDS: Readonly<Record<number, string>> = {
  128: 'id',
  129: 'zero zero',
  130: 'ioas few zero pointer',
  131: 'flags ioas ioas length iova iova',
  132: 'ioas few zero pointer zero8',
  133: 'flags ioas zero va length iova',
  134: 'ioas iova length',
  135: 'bit bit2 zero2 ioas bit8',
  136: 'ioas few2 zero2',
  137: 'hwpt device target zero zero data pointer fault zero',
  138: 'bit device few16 pointer type zero zero8',
  139: 'bit paging zero',
  140: 'paging bit zero iova length page pointer',
  141: 'invalid pointer invalidate few16 few zero',
  142: 'zero zero zero',
  143: 'flags ioas fd va length iova',
  144: 'zero type2 device paging zero few16 zero pointer',
  145: 'viommu device zero virt',
  146: 'zero',
  147: 'zero viommu type2 few zero zero zero',
  148: 'zero viommu type2 bit zero iova length',
  160: 'op id zero small8 small8 small8 small8 small8 small8 zero4 zero4',
}

/** Types of objects that fit a member. */
const FITTING: Readonly<Record<string, readonly number[]>> = {
  ioas: [1],
  paging: [2],
  device: [4],
  viommu: [5],
  target: [1, 2, 5],
  invalid: [3, 5],
  fault: [8],
}

/** Mostly an id of an object that fits, else any. */
function idFor(door: Door, random: Random, what: string): number {
  const fitting = [...door.core.contexts[0].objects.ascending()].filter(({ type }) => FITTING[what]?.includes(type))
  return fitting.length === 0 || random.oneIn(5) ? random.below(20) : random.pick(fitting).id
}

/** Values of a member: often those that fit others. */
function member(door: Door, random: Random, what: string): readonly Member[] {
  if (what === 'id' || what in FITTING) return [[idFor(door, random, what), 4]]
  if (what !== 'data') return [plain(random, what)]
  const [type, length] = random.pick([
    [0, 0],
    [0, 0],
    [1, 24],
    [2, 16],
    [0xdead, 8],
    [3, 8],
    [0, 8],
  ] as const)
  return [
    [type, 4],
    [length, 4],
  ]
}

/** Numbers that are no ids. */
function plain(random: Random, what: string): Member {
  const lengths = [0x1000n, 0x2000n, 0x20_0000n, 0x800n, 1n, 0n, ALL]
  const iovas = [0n, 0x1000n, 0x100_0000n, 0x100_1000n, 0x8000_0000n, ALL]
  switch (what) {
    case 'zero':
    case 'zero4':
      return [random.oneIn(40) ? 1 : 0, 4]
    case 'zero2':
      return [random.oneIn(40) ? 1 : 0, 2]
    case 'zero8':
      return [0, 8]
    case 'flags':
      return [random.pick([7, 6, 7, 4, 2, 5, 8]), 4]
    case 'hwpt':
      return [random.pick([0, 0, 1, 1, 2, 4, 8, 9, 16]), 4]
    case 'bit':
      return [random.below(2), 4]
    case 'bit2':
      return [random.below(3), 2]
    case 'bit8':
      return [random.below(3), 8]
    case 'few':
      return [random.pick([0, 1, 2, 3, 0xffffffff]), 4]
    case 'few2':
      return [random.below(4), 2]
    case 'few16':
      return [random.pick([0, 0, 8, 12, 16, 24, 40, 4, 17]), 4]
    case 'type':
      return [random.pick([0, 0, 1, 2, 3, 0xdead]), 4]
    case 'invalidate':
      return [random.pick([0, 1, 0xdeadbeef]), 4]
    case 'type2':
      return [random.pick([1, 1, 2, 0xdeadbeef, 0]), 4]
    case 'fd':
      return [random.below(6), 4]
    case 'op':
      return [random.pick([2, 2, 12, random.below(25)]), 4]
    case 'pointer':
      return [random.pick([DATA, DATA, DATA, REGION, 0n]), 8]
    case 'va':
      return [random.pick([REGION, REGION + 0x1000n, REGION + 0x800n, 0x3000_0000n]), 8]
    case 'length':
      return [random.pick(lengths), 8]
    case 'iova':
      return [random.pick(iovas), 8]
    case 'page':
      return [random.pick([0x1000n, 0x800n, 0x20_0000n, 0n, 3n]), 8]
    case 'virt':
      return [random.below(4), 8]
    default:
      return [random.pick([0n, 1n, 4n, 0x1000n, 0x100_0000n, REGION, DATA, BigInt(random.below(14))]), 8]
  }
}

/** A struct, nearly always of its own size. */
function structOf(door: Door, random: Random, nr: number): Uint8Array {
  const members = COMMANDS[nr].split(' ').flatMap((what) => member(door, random, what))
  const bytes = members.reduce((sum, [, width]) => sum + width, 4)
  return bytesOf([random.oneIn(50) ? random.below(80) : bytes, 4], ...members)
}

/** STEs, lists of ranges, invalidations: small numbers, some of which mean something. */
const dataOf = (random: Random): Uint8Array =>
  bytesOf(
    ...Array.from({ length: 16 }, (): Member => [random.pick([0n, 0n, 1n, 0xbn, 0x10n, 0x1000n, 0x1fffn, 0x11n]), 8]),
  )

/** What a process does with descriptors, beside ioctls. */
async function otherCall(door: Door, random: Random): Promise<void> {
  const handle = random.below(6)
  const names = door.core.machine.devices.map(({ name }) => name)
  switch (random.below(7)) {
    case 0:
      door.handle('OpenHandle', { path: `/dev/vfio/devices/${random.pick(names)}` })
      return
    case 1:
      door.handle('OpenHandle', { objectId: random.below(14) })
      return
    case 2:
      await door.handleLater('CloseHandle', { handle: handle + (random.oneIn(4) ? 0 : 3) })
      return
    case 3:
      door.handle('ReadHandle', { handle, count: random.pick([0, 8, 40, 41, 400]) })
      return
    case 4:
      await door.handleLater('WriteHandle', { handle, data: dataOf(random).subarray(0, random.pick([8, 16, 7])) })
      return
    case 5:
      await door.handleLater('PollHandle', { targets: [{ handle, events: 1 }], waitMs: 0 })
      return
    default:
      door.handle('MapHandle', { handle, offset: 0x1000n, length: 0x2000n, protection: 3 })
  }
}

/** BIND and ATTACH on whatever handle it is. */
function deviceCall(door: Door, random: Random): readonly [cmd: number, arg: Uint8Array, handle: number] {
  const handle = 1 + random.below(5)
  if (random.oneIn(2)) return [0x3b76, bytesOf([16, 4], [0, 4], [0, 4], [0, 4]), handle]
  if (random.oneIn(4)) return [0x3b78, bytesOf([12, 4], [random.below(2), 4], [random.below(3), 4]), handle]
  const [flags, pt, pasid] = [random.below(2), idFor(door, random, 'target'), random.below(3)]
  return [0x3b77, bytesOf([16, 4], [flags, 4], [pt, 4], [pasid, 4]), handle]
}

/** Two devices and one of the self-test, each with a nesting parent, so that chance has something to go on. */
function begin(door: Door): void {
  const ioas = door.newIoas()
  const devices = [ARM, INTEL].map((name) => {
    const { handle } = door.handle('OpenHandle', { path: `/dev/vfio/devices/${name}` })
    return word(door.done(0x3b76, words(16, 0, 0, 0), [], handle), 12)
  })
  devices.push(word(door.done(TEST, SelftestDoor.test(2, ioas)), 24))
  for (const dev of devices) newHwpt(door, { flags: 1, dev, pt: ioas })
}

async function runWild(door: Door, random: Random): Promise<ReadonlySet<string>> {
  const done = new Set<string>()
  begin(door)
  // Destroying is a part of making, not all of it.
  const nrs = [...Object.keys(COMMANDS).map(Number), 0x89, 0x89, 0x90, 0x8d]
  for (let i = 0; i < CALLS; i++) {
    if (random.oneIn(8)) {
      await otherCall(door, random).catch((error) => expect(error).toBeInstanceOf(Refusal))
      continue
    }
    const nr = random.pick(nrs)
    const [cmd, arg, handle] = random.oneIn(5)
      ? deviceCall(door, random)
      : ([0x3b00 | nr, structOf(door, random, nr), 0] as const)
    const isOpen = handle === 0 || door.core.contexts[0].files.find(handle) !== undefined
    if (!isOpen) continue
    const given = [memory(DATA, dataOf(random), !random.oneIn(10))]
    const { errno, refusal, result } = await door.handleLater('Ioctl', { handle, cmd, arg, memory: given })
    expect([errno === 0, result < 0n]).toEqual([refusal === undefined, errno !== 0])
    if (errno === 0) done.add(cmd.toString(16))
  }
  return done
}

describe('a process that makes 1500 ioctls at random', () => {
  it.each([1, 2, 3, 4])('meets refusals and nothing else, and leaves nothing (seed %i)', async (seed) => {
    const machine = createMachine({ platform: DEFAULT_PLATFORM, files, testDevice: true })
    const door = new Door({ machine: machine as never })
    door.region(0x40_0000n, REGION)
    const done = await runWild(door, new Random(seed))
    expect(done.size).toBeGreaterThanOrEqual(16)
    await door.begin('CloseContext')
    expect(door.core.contexts).toEqual([])
    expect(door.core.bound.size).toBe(0)
  })
})
