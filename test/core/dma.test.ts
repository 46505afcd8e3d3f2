import { describe, expect, it } from 'vitest'
import { ALL, World } from './world.js'

/** A device attached to an IOAS that maps 8 KiB of a region at two places. */
function attached() {
  const world = new World()
  const [ioas, region, device] = [world.ioas(), world.region(), world.bind('arm')]
  world.do('AttachRid', { deviceId: device, ptId: ioas })
  world.map(ioas, region, 0x1000n, 0x4000n, 0x3000n)
  world.map(ioas, region, 0x1000n, 0x5000n, 0x1000n)
  return { world, ioas, region, device }
}

describe('Translate', () => {
  it('answers in dense arrays, with region and offset', () => {
    const { world, region, device } = attached()
    const reply = world.do('Translate', { deviceId: device, iovas: BigUint64Array.of(0x4008n, 0x9000n, 0x5fffn) })
    expect([...reply.outcomes]).toEqual([1, 2, 1])
    expect([...reply.regionIds]).toEqual([region, 0, region])
    expect([...reply.offsets]).toEqual([0x3008n, 0n, 0x1fffn])
    expect([...reply.faultCodes]).toEqual([0, 0x10, 0])
    expect(reply.faults).toMatchObject([
      {
        index: 1,
        code: 0x10,
        name: 'FAULT_16',
        iova: 0x9000n,
        stage: 1,
        reason: 'stage-1 table entry at level 3: not valid',
      },
    ])
    expect([reply.doneCount, reply.refusal]).toEqual([3, undefined])
  })

  it('carries all 64 bits of an address', () => {
    const { world, device } = attached()
    const { faults } = world.do('Translate', { deviceId: device, iovas: BigUint64Array.of(ALL, 2n ** 53n + 1n) })
    expect(faults.map(({ iova }) => iova)).toEqual([ALL, 2n ** 53n + 1n])
  })

  it('stops at the first element whose access is none', () => {
    const { world, device } = attached()
    const iovas = BigUint64Array.of(0x4000n, 0x4000n, 0x4000n)
    const reply = world.do('Translate', { deviceId: device, iovas, accesses: Uint32Array.of(1, 8, 1) })
    expect([reply.doneCount, reply.outcomes.length, reply.refusal?.name]).toEqual([1, 1, 'EINVAL'])
    const short = world.do('Translate', { deviceId: device, iovas, accesses: Uint32Array.of(1) })
    expect([short.doneCount, short.refusal?.name]).toEqual([0, 'EINVAL'])
    const nobody = world.do('Translate', { deviceId: 99, iovas })
    expect([nobody.doneCount, nobody.refusal?.name]).toEqual([0, 'ENOENT'])
    expect(world.do('Translate', { deviceId: device, iovas, pasid: 256 }).refusal?.name).toBe('EINVAL')
  })

  it('gives a mediated device’s requests its own PASID', () => {
    const world = new World()
    const [ioas, region, device] = [world.ioas(), world.region(), world.bind('arm/mdev5')]
    const ptId = world.paging(device, ioas, 8)
    world.do('AttachPasid', { deviceId: device, pasid: 5, ptId })
    world.map(ioas, region, 0x1000n, 0x4000n)
    const iovas = BigUint64Array.of(0x4000n)
    expect([...world.do('Translate', { deviceId: device, iovas }).outcomes]).toEqual([1])
    expect(world.do('Translate', { deviceId: device, iovas, pasid: 5 }).refusal?.name).toBe('EINVAL')
  })

  it('is one context’s, and blocked while nothing is attached', () => {
    const { world, device } = attached()
    const other = world.open().context
    expect(world.do('Translate', { deviceId: device, iovas: BigUint64Array.of(0n) }, other).refusal?.name).toBe(
      'ENOENT',
    )
    world.do('DetachRid', { deviceId: device })
    expect([...world.do('Translate', { deviceId: device, iovas: BigUint64Array.of(0x4000n) }).outcomes]).toEqual([3])
  })
})

describe('DmaRead and DmaWrite', () => {
  it('follow the leaves of an access that crosses pages', () => {
    const { world, region, device } = attached()
    const data = Uint8Array.from({ length: 16 }, (_, at) => at + 1)
    const written = world.do('DmaWrite', { deviceId: device, operations: [{ address: 0x4ff8n, data }] })
    expect(written.results).toMatchObject([{ outcome: 1, doneBytes: 16 }])
    const slices = [
      { regionId: region, offset: 0x3ff8n, length: 8 },
      { regionId: region, offset: 0x1000n, length: 8 },
    ]
    const memory = world.do('ReadMemory', { slices }).data
    expect(memory.map((bytes) => [...bytes])).toEqual([[...data.slice(0, 8)], [...data.slice(8)]])
    const read = world.do('DmaRead', { deviceId: device, operations: [{ address: 0x4ff8n, length: 16 }] })
    expect([...read.results[0].data]).toEqual([...data])
  })

  it('go on beyond 4 GiB', () => {
    const { world, ioas, region, device } = attached()
    world.map(ioas, region, 0x2000n, 0xfffff000n, 0x8000n)
    const data = Uint8Array.of(7, 8, 9, 10)
    world.do('WriteMemory', { patches: [{ regionId: region, offset: 0x8ffen, data }] })
    const read = world.do('DmaRead', { deviceId: device, operations: [{ address: 0xfffffffen, length: 4 }] })
    expect([...read.results[0].data]).toEqual([...data])
  })

  it('end half way at a fault, and go on with the next operation', () => {
    const { world, device } = attached()
    const operations = [
      { address: 0x5ffcn, length: 8 },
      { address: 0x4000n, length: 4 },
    ]
    const { results, doneCount } = world.do('DmaRead', { deviceId: device, operations })
    expect(results.map(({ outcome, data }) => [outcome, data.length])).toEqual([
      [2, 4],
      [1, 4],
    ])
    expect([results[0].fault?.iova, doneCount]).toEqual([0x6000n, 2])
  })

  it('refuse what leaves 64 bits or the batch', () => {
    const { world, device } = attached()
    const ends = (operations: { address: bigint; length: number }[]) =>
      world.do('DmaRead', { deviceId: device, operations }).refusal?.name
    expect(ends([{ address: ALL, length: 2 }])).toBe('EOVERFLOW')
    expect(ends([{ address: 0n, length: 2 ** 31 }])).toBe('E2BIG')
  })
})

describe('Explain', () => {
  it('hides the host driver’s addresses and words', () => {
    const { world, device } = attached()
    const { explanation } = world.do('Explain', { deviceId: device, iova: 0x4008n })
    expect(explanation.fresh).toMatchObject({ outcome: 1, location: { offset: 0x3008n } })
    expect(explanation.steps).toMatchObject([{ stage: 1, level: 3, space: 0, address: 0n, fields: [{ name: 'V' }] }])
    expect(explanation.steps[0].words).toHaveLength(0)
  })
})

describe('memory regions', () => {
  it('are read and written up to the first slice that is refused', () => {
    const world = new World()
    const region = world.region(8192n)
    const data = Uint8Array.of(1, 2)
    const patches = [
      { regionId: region, offset: 8190n, data },
      { regionId: region, offset: 8191n, data },
    ]
    const reply = world.do('WriteMemory', { patches })
    expect([reply.doneCount, reply.refusal?.name, reply.refusal?.context['index']]).toEqual([1, 'EINVAL', '1'])
    const { regionId } = world.do('CreateMemoryRegion', {
      file: { path: '/f', offset: 0n, bytes: 0n, writable: false },
    })
    expect(world.do('WriteMemory', { patches: [{ regionId, offset: 0n, data }] }).refusal?.name).toBe('EACCES')
    expect(world.do('ReadMemory', { slices: [{ regionId: 9, offset: 0n, length: 1 }] }).refusal?.name).toBe('ENOENT')
  })

  it('have places of their own, and give their ids back', () => {
    const world = new World()
    const create = (request: object) => world.no('CreateMemoryRegion', request)
    expect(create({ anonymous: { bytes: 0n } })).toBe('EINVAL')
    expect(create({ anonymous: { bytes: 5000n } })).toBe('EINVAL')
    expect(create({})).toBe('EINVAL')
    expect(create({ fd: {} })).toBe('EBADF')
    const first = world.region(8192n, 0x10000n)
    expect(create({ anonymous: { bytes: 4096n }, clientAddress: 0x11000n })).toBe('EINVAL')
    expect(create({ anonymous: { bytes: 4096n }, clientAddress: 0x11008n })).toBe('EINVAL')
    expect(create({ anonymous: { bytes: 8192n }, clientAddress: ALL - 4095n })).toBe('EOVERFLOW')
    world.do('DestroyMemoryRegion', { regionId: first })
    expect(world.region(4096n, 0x11000n)).toBe(first)
    expect(world.machine.memories).toHaveLength(1)
  })
})

describe('a raw unit', () => {
  it('has registers, translates to physical addresses and is reset', () => {
    const world = new World()
    const { unitId, idRegisters } = world.do('CreateUnit', { type: 1 })
    expect(idRegisters).toEqual([{ name: 'IDR0', value: 5n }])
    world.do('WriteUnitRegisters', { unitId, writes: [{ offset: 16, width: 8, value: ALL }] })
    const reads = [
      { offset: 16, width: 8 },
      { offset: 4, width: 8 },
    ]
    const read = world.do('ReadUnitRegisters', { unitId, reads })
    expect([[...read.values], read.doneCount, read.refusal?.name]).toEqual([[ALL], 1, 'EINVAL'])
    const batch = { unitId, sourceIds: Uint32Array.of(3), iovas: BigUint64Array.of(0x1_0000_1000n) }
    expect([...world.do('TranslateUnit', batch).addresses]).toEqual([0x1_0000_1003n])
    expect(world.do('TranslateUnit', { ...batch, sourceIds: new Uint32Array(0) }).refusal?.name).toBe('EINVAL')
    world.do('ResetUnit', { unitId })
    expect([...world.do('ReadUnitRegisters', { unitId, reads: reads.slice(0, 1) }).values]).toEqual([0n])
    expect(world.no('CreateUnit', { type: 3 })).toBe('EINVAL')
    world.do('Destroy', { objectId: unitId })
    expect(world.leftovers()).toEqual([])
  })
})
