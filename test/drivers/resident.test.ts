/** Anonymous memory costs its owner what was written of it, and no more than the limit says. */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { CHUNK_BYTES, FlatBacking, MEMORY, Memory, SparseBacking } from '../../hw-model/memory/index.js'
import { Core } from '../../server/core/core.js'
import { HANDLERS } from '../../server/core/index.js'
import { DEFAULT_LIMITS, type Limits } from '../../server/core/limits.js'
import { createMachine, DEFAULT_PLATFORM } from '../../server/drivers/machine.js'
import { manualClock } from '../../server/ops/clock.js'
import { seededRandom } from '../../server/ops/random.js'

const RW = 6
const FIXED = 1
const TIB = 2n ** 40n
const PEER = { uid: 1000 }

const files = {
  roots: [],
  map: () => {
    throw new Error('nothing maps files here')
  },
}

/** A core on the real machine, in which a context may hold so many chunks. */
function world(chunks: { context: number; uid: number }) {
  const resident = (scope: 'context' | 'uid') => ({
    ...DEFAULT_LIMITS[scope],
    resident_bytes: chunks[scope] * CHUNK_BYTES,
  })
  const limits: Limits = { ...DEFAULT_LIMITS, context: resident('context'), uid: resident('uid') }
  const machine = createMachine({ platform: DEFAULT_PLATFORM, files })
  const core = new Core({ machine, clock: manualClock(), random: seededRandom(1n), limits })
  const open = () => {
    const context = core.open(PEER, { lifetime: 3, leaseMs: 0, label: '' })
    const call = <N extends keyof typeof HANDLERS>(name: N, request: object) =>
      core.run(PEER, context, HANDLERS[name] as never, { label: '', ...request }) as never as Awaited<
        ReturnType<(typeof HANDLERS)[N]>
      >
    const region = (bytes = TIB) => call('CreateMemoryRegion', { anonymous: { bytes } }).regionId
    const write = (regionId: number, offset: bigint, bytes = 8) =>
      call('WriteMemory', { patches: [{ regionId, offset, data: new Uint8Array(bytes).fill(7) }] })
    const used = () => call('GetContext', {}).quotas.find(({ name }) => name === 'resident_bytes')?.used
    return { context, call, region, write, used }
  }
  return { core, ...open(), open }
}

const chunk = (index: number): bigint => BigInt(index * CHUNK_BYTES)

describe('the limit resident_bytes', () => {
  it('counts what WriteMemory makes resident, not the length, and nothing of a refused slice is written', async () => {
    const { call, region, write, used } = world({ context: 2, uid: 9 })
    const id = region()
    expect(used()).toBe(0n)
    expect(write(id, 0n)).toMatchObject({ doneCount: 1 })
    expect(write(id, 100n)).toMatchObject({ doneCount: 1 })
    expect(used()).toBe(chunk(1))
    const refused = await write(id, chunk(6) - 4n, 2 * CHUNK_BYTES)
    expect(refused).toMatchObject({
      doneCount: 0,
      refusal: { name: 'EDQUOT', context: { limit: 'resident_bytes', scope: 'context', value: String(chunk(2)) } },
    })
    const { data } = await call('ReadMemory', { slices: [{ regionId: id, offset: chunk(6) - 4n, length: 8 }] })
    expect([...data[0]]).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
    expect(write(id, 200n)).toMatchObject({ doneCount: 1 })
    call('DestroyMemoryRegion', { regionId: id })
    expect(used()).toBe(0n)
  })

  it('refuses the DmaWrite that would exceed it, as a refusal of the call; a DmaRead costs nothing', async () => {
    const { call, region, used } = world({ context: 1, uid: 9 })
    const regionId = region(2n ** 30n)
    const { deviceId } = call('BindDevice', { deviceName: '0000:00:01.0', grant: 0 })
    const { ioasId } = call('CreateIoas', { flags: 0 })
    const mapping = { ioasId, region: { regionId, offset: 0n }, length: 2n ** 26n, iova: 0n, flags: FIXED | RW }
    await call('IoasMap', mapping)
    await call('AttachRid', { deviceId, ptId: ioasId })
    const dma = { deviceId, access: 0, addressType: 0 }
    const data = new Uint8Array(8).fill(1)
    const operations = [0, 5, 6].map((index) => ({ address: chunk(index), data }))
    const written = await call('DmaWrite', { ...dma, operations })
    expect(written).toMatchObject({
      doneCount: 1,
      refusal: { name: 'EDQUOT', context: { index: '1', limit: 'resident_bytes' } },
    })
    const reads = [7, 8, 9].map((index) => ({ address: chunk(index), length: 8 }))
    expect(await call('DmaRead', { ...dma, operations: reads })).toMatchObject({ doneCount: 3, refusal: undefined })
    expect(used()).toBe(chunk(1))
  })

  it('of a user counts over all contexts, and comes back when one ends', async () => {
    const { open, region, write } = world({ context: 2, uid: 2 })
    const other = open()
    const mine = region()
    const theirs = other.region()
    write(mine, 0n)
    other.write(theirs, 0n)
    expect(write(mine, chunk(3))).toMatchObject({ refusal: { context: { scope: 'uid' } } })
    other.call('CloseContext', {})
    expect(write(mine, chunk(3))).toMatchObject({ doneCount: 1 })
  })

  it('is told by GetServerInfo', () => {
    const { call } = world({ context: 2, uid: 8 })
    const told = call('GetServerInfo', {}).limits.filter(({ name }) => name === 'resident_bytes')
    expect(told.map(({ value, unit }) => [value, unit])).toEqual([
      [chunk(2), 'bytes'],
      [chunk(8), 'bytes'],
    ])
  })
})

describe('hardware whose owner may hold no more memory', () => {
  it('meets an external abort where it stores, and reads zeroes up to the end of the memory', () => {
    const memory = new Memory()
    const backing = new SparseBacking(CHUNK_BYTES + 4096, () => false)
    memory.place(0, backing)
    expect([memory.store32(0, 1), memory.updateFlags(0, 0, 1, 0)]).toEqual([MEMORY.ABORT, MEMORY.ABORT])
    for (const address of [0, CHUNK_BYTES, CHUNK_BYTES + 4088]) expect(memory.loadWord(address)).toBe(MEMORY.OK)
    expect(memory.loadWord(CHUNK_BYTES + 4096)).toBe(MEMORY.ABORT)
    expect(backing.residentBytes).toBe(0)
  })
})

describe('a guest that touches a word of every gigabyte', () => {
  it('reads what is there, and what is remembered of it stays small', () => {
    const memory = new Memory()
    memory.place(0, new SparseBacking(2 ** 40))
    memory.place(2 ** 41, new FlatBacking(new ArrayBuffer(8 * CHUNK_BYTES), true))
    for (let gib = 0; gib < 1024; gib += 8) memory.storeWord(gib * 2 ** 30, gib, 0)
    memory.storeWord(2 ** 41 + CHUNK_BYTES, 9, 9)
    const before = heapInUse()
    for (let gib = 0; gib < 1024; gib++) {
      expect(memory.loadWord(gib * 2 ** 30)).toBe(MEMORY.OK)
      expect(memory.lo).toBe(gib % 8 === 0 ? gib : 0)
    }
    memory.loadWord(2 ** 41 + CHUNK_BYTES)
    expect([memory.lo, memory.hi]).toEqual([9, 9])
    expect(heapInUse() - before).toBeLessThan(64 * 2 ** 20)
  })
})

/** Bytes of the heap that something still refers to: what is left after a collection. */
function heapInUse(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  return process.memoryUsage().heapUsed
}
