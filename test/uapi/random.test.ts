/** Random ioctls of the right form, on real drivers: nothing but refusals, and nothing left at the end. */

import { describe, expect, it } from 'vitest'
import { Refusal } from '../../server/core/refusal.js'
import { createMachine } from '../../server/drivers/machine.js'
import { DEFAULT_PLATFORM } from '../../server/drivers/platform.js'
import { Random } from '../hostile/random.js'
import { bytesOf, Door, type Member, memory } from './door.js'
import { files } from './world.js'

const CALLS = 1500
const DATA = 0x2000_0000n
const REGION = 0x1000_0000n
const ALL = 2n ** 64n - 1n

/** Members of each command behind `size`: bytes, and what they are. */
const COMMANDS: Readonly<Record<number, string>> = {
  128: 'id',
  129: 'zero zero',
  130: 'id few zero pointer',
  131: 'flags id id length iova iova',
  132: 'id few zero pointer zero8',
  133: 'flags id zero va length iova',
  134: 'id iova length',
  135: 'bit bit2 zero2 id bit8',
  136: 'id few2 zero2',
  137: 'hwpt id id zero zero type few16 pointer id zero',
  138: 'bit id few16 pointer type zero zero8',
  139: 'bit id zero',
  140: 'id bit zero iova length page pointer',
  141: 'id pointer invalidate few16 few zero',
  142: 'zero zero zero',
  143: 'flags id fd va length iova',
  144: 'zero viommu id id zero few16 zero pointer',
  145: 'id id zero virt',
  146: 'zero',
  147: 'zero id viommu few zero zero zero',
  148: 'zero id viommu bit zero iova length',
  160: 'op id zero small8 small8 small8 small8 small8 small8 zero4 zero4',
}

/** Values of a member: often those that fit others. */
function member(random: Random, what: string): Member {
  const lengths = [0x1000n, 0x2000n, 0x20_0000n, 0x800n, 1n, 0n, ALL]
  const iovas = [0n, 0x1000n, 0x100_0000n, 0x100_1000n, 0x8000_0000n, ALL]
  switch (what) {
    case 'id':
      return [random.below(14), 4]
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
    case 'viommu':
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
function structOf(random: Random, nr: number): Uint8Array {
  const members = COMMANDS[nr].split(' ').map((what) => member(random, what))
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
      await door.handleLater('CloseHandle', { handle })
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
function deviceCall(random: Random): readonly [cmd: number, arg: Uint8Array, handle: number] {
  const handle = 1 + random.below(5)
  if (random.oneIn(2)) return [0x3b76, bytesOf([16, 4], [0, 4], [0, 4], [0, 4]), handle]
  if (random.oneIn(4)) return [0x3b78, bytesOf([12, 4], [random.below(2), 4], [random.below(3), 4]), handle]
  const [flags, pt, pasid] = [random.below(2), random.below(14), random.below(3)]
  return [0x3b77, bytesOf([16, 4], [flags, 4], [pt, 4], [pasid, 4]), handle]
}

async function runWild(door: Door, random: Random): Promise<ReadonlySet<string>> {
  const done = new Set<string>()
  const nrs = Object.keys(COMMANDS).map(Number)
  for (let i = 0; i < CALLS; i++) {
    if (random.oneIn(8)) {
      await otherCall(door, random).catch((error) => expect(error).toBeInstanceOf(Refusal))
      continue
    }
    const nr = random.pick(nrs)
    const [cmd, arg, handle] = random.oneIn(5) ? deviceCall(random) : ([0x3b00 | nr, structOf(random, nr), 0] as const)
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
    expect(done.size).toBeGreaterThanOrEqual(12)
    await door.begin('CloseContext')
    expect(door.core.contexts).toEqual([])
    expect(door.core.bound.size).toBe(0)
  })
})
