/**
 * Two clients of one daemon: neither can see, guess or change what the other has; a token ends with its context; and no
 * reply about a platform's device tells where memory is in the emulated machine.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, type ContextClient, ContextLifetime, DmaOutcome } from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { fieldsOf } from '../../proto/codec.js'
import { METHODS, type Method, type MethodName } from '../../proto/generated/methods.js'
import { refusal } from '../e2e/world.js'
import { bugLines } from './process-facts.js'
import { Random } from './random.js'
import { DEVICE_PAIRS, GUEST_BASE, makeVictim, REGION_BYTES, type Victim, WINDOW_BASE } from './victim.js'

let daemon: Daemon
beforeAll(async () => {
  daemon = await startDaemon({ seed: 11 })
})
afterAll(async () => {
  expect(bugLines(daemon.log())).toEqual([])
  await daemon.stop()
})

/** Methods that act in a context. */
const IN_CONTEXT: readonly Method[] = Object.values(METHODS).filter(({ request }) =>
  fieldsOf(request).some(({ name }) => name === 'context'),
)

describe('a context', () => {
  let first: Victim
  let stranger: ContextClient
  let client: Client
  beforeAll(async () => {
    client = daemon.connect()
    first = await makeVictim(daemon.client, DEVICE_PAIRS[0], new Random(3))
    stranger = client.inContext((await client.openContext({ lifetime: ContextLifetime.LEASE })).context)
  })
  afterAll(async () => {
    await first.client.closeContext({})
    await stranger.closeContext({})
    client.close()
  })

  it('sees none of another’s objects and regions, and of its devices only that they are taken', async () => {
    expect((await stranger.listObjects({})).objects).toEqual([])
    expect((await stranger.listMemoryRegions({})).regions).toEqual([])
    const { devices } = await stranger.listDevices({})
    const taken = devices.filter(({ bound }) => bound)
    expect(taken.map(({ name }) => name).sort()).toEqual([DEVICE_PAIRS[0].smmuv3, DEVICE_PAIRS[0].vtd])
    expect(taken.map(({ deviceId }) => deviceId)).toEqual([0, 0])
  })

  it('finds no object of another under any id', async () => {
    const { objects } = await first.client.listObjects({})
    expect(objects.length).toBeGreaterThan(8)
    for (const { id } of objects) {
      expect((await refusal(stranger.destroy({ objectId: id }))).errnoName).toBe('ENOENT')
      expect((await refusal(stranger.getDevice({ deviceId: id }))).errnoName).toBe('ENOENT')
      expect((await refusal(stranger.getUnit({ unitId: id }))).errnoName).toBe('ENOENT')
      const range = { first: 0n, last: 0xfffn }
      expect((await refusal(stranger.growWindow({ windowId: id, ...range }))).errnoName).toBe('ENOENT')
      expect((await refusal(stranger.createWindow({ parentDomainId: id, ...range }))).errnoName).toBe('ENOENT')
      expect((await refusal(stranger.ioasUnmap({ ioasId: id, iova: 0n, length: 2n ** 64n - 1n }))).errnoName).toBe(
        'ENOENT',
      )
      expect((await refusal(stranger.translate({ deviceId: id, access: 1, iovas: [GUEST_BASE] }))).errnoName).toBe(
        'ENOENT',
      )
    }
    expect((await first.client.listObjects({})).objects).toEqual(objects)
  })

  it('reads and writes no region of another, though ids are the same', async () => {
    const before = await first.client.readMemory({ slices: [{ regionId: first.regionId, offset: 0n, length: 4096 }] })
    const patches = [{ regionId: first.regionId, offset: 0n, data: new Uint8Array(4096).fill(0xee) }]
    expect((await refusal(stranger.writeMemory({ patches }))).errnoName).toBe('ENOENT')
    const { regionId } = await stranger.createMemoryRegion({ anonymous: { bytes: 0x1_0000n } })
    expect(regionId).toBe(first.regionId)
    await stranger.writeMemory({ patches })
    const after = await first.client.readMemory({ slices: [{ regionId: first.regionId, offset: 0n, length: 4096 }] })
    expect(after.data).toEqual(before.data)
    await stranger.destroyMemoryRegion({ regionId })
  })

  it('has raw units that see no region of another', async () => {
    const { unitId } = await stranger.createUnit({ type: 1 })
    const { regionId } = await stranger.createMemoryRegion({ anonymous: { bytes: 0x1_0000n }, busAddress: 0n })
    // A unit that is off passes addresses through; one that is on finds no table where the other context has one.
    await stranger.writeUnitRegisters({ unitId, writes: [{ offset: 0x80, width: 8, value: 0x20_0000n }] })
    await stranger.writeUnitRegisters({ unitId, writes: [{ offset: 0x88, width: 4, value: 4n }] })
    await stranger.writeUnitRegisters({ unitId, writes: [{ offset: 0x20, width: 4, value: 1n }] })
    const { outcomes } = await stranger.translateUnit({ unitId, sourceIds: [0], access: 1, iovas: [0n] })
    expect([...outcomes]).toEqual([DmaOutcome.FAULT])
    await stranger.destroy({ objectId: unitId })
    await stranger.destroyMemoryRegion({ regionId })
  })

  it('cannot take a device that another has', async () => {
    for (const deviceName of [DEVICE_PAIRS[0].smmuv3, DEVICE_PAIRS[0].vtd]) {
      expect((await refusal(stranger.bindDevice({ deviceName }))).errnoName).toBe('EBUSY')
    }
  })

  it('is not opened by a token that is nearly its own', async () => {
    const { token } = first.client
    const [boot, secret] = token.split('-')
    const near = [
      `${boot}-${secret.slice(0, -1)}`,
      `${boot}-${secret}0`,
      `${boot}-${secret.slice(0, -1)}${secret.endsWith('0') ? '1' : '0'}`,
      `${boot}-${'0'.repeat(32)}`,
      `${boot}-`,
      boot,
      secret,
      token.toUpperCase(),
      ` ${token}`,
      `${token}\0`,
      '',
    ]
    for (const context of near) expect((await refusal(client.listObjects({ context }))).errnoName).toBe('EBADF')
  })

  it('that is closed leaves a token that every method refuses', async () => {
    const { context } = await client.openContext({ lifetime: ContextLifetime.EXPLICIT })
    await client.createIoas({ context })
    await client.closeContext({ context })
    for (const { name } of IN_CONTEXT) {
      const error = await refusal(client.call(name as MethodName, { context } as never))
      expect([name, error.errnoName === 'EOPNOTSUPP' ? 'EBADF' : error.errnoName]).toEqual([name, 'EBADF'])
    }
  })

  it('is not named by its token in anything that others see', async () => {
    const { token } = first.client
    const told = JSON.stringify(
      [
        await client.getServerInfo(),
        await stranger.listDevices({}),
        await stranger.getContext({}),
        (await refusal(stranger.bindDevice({ deviceName: DEVICE_PAIRS[0].vtd }))).message,
      ],
      (_key, value) => (typeof value === 'bigint' ? `${value}` : value),
    )
    expect(told).not.toContain(token)
    expect(told).not.toContain(token.split('-')[1])
    expect(daemon.log()).not.toContain(token.split('-')[1])
  })
})

describe('what is told about a platform’s device', () => {
  let victim: Victim
  beforeAll(async () => {
    victim = await makeVictim(daemon.client, DEVICE_PAIRS[0], new Random(5))
  })
  afterAll(async () => {
    await victim.client.closeContext({})
  })

  const devices = ['smmuDevice', 'vtdDevice'] as const
  const iovas = [
    0n,
    0x1000n,
    0x20_0000n,
    GUEST_BASE,
    GUEST_BASE + 0x1000n,
    2n ** 39n,
    2n ** 47n + 0x5000n,
    2n ** 64n - 0x1000n,
  ]

  it.each(devices)('names regions and offsets, and no physical address, in each walk of the %s', async (name) => {
    const deviceId = victim[name]
    let steps = 0
    for (const iova of iovas) {
      for (const pasid of [undefined, 0, 5]) {
        const { explanation } = await victim.client.explain({ deviceId, pasid, iova, access: 1 })
        steps += explanation?.steps.length ?? 0
        expect(leaksOf(explanation, iova)).toEqual([])
      }
    }
    expect(steps).toBeGreaterThan(20)
  })

  it.each(devices)('is a place inside the region, or nothing, for each translation of the %s', async (name) => {
    const deviceId = victim[name]
    const random = new Random(8)
    const many = Array.from({ length: 4000 }, () => BigInt(random.below(2 ** 31)) << BigInt(random.below(17)))
    const reply = await victim.client.translate({ deviceId, access: 1, iovas: many })
    for (const [i, regionId] of reply.regionIds.entries()) {
      expect([0, victim.regionId]).toContain(regionId)
      expect(reply.offsets[i] < REGION_BYTES).toBe(true)
    }
    for (const { ipa, reason, iova } of reply.faults) {
      if (ipa !== undefined) expect(ipa < 2n ** 52n).toBe(true)
      expect(foreignAddresses(reason, iova, new BigUint64Array())).toEqual([])
    }
  })

  it('has no address among its facts', async () => {
    const { objects } = await victim.client.listObjects({})
    for (const { facts, type } of objects) {
      for (const [key, value] of Object.entries(facts)) {
        // A window is where its maker asked for it.
        if (key === 'ranges') expect(value).toBe('[0x60000000, 0x60001fff]')
        else expect(`${type} ${key}=${value}`).not.toMatch(/0x[0-9a-f]{6,}|\bpa\b/i)
      }
    }
  })

  it('tells of a window’s table where the client put it, and of the memory behind it nothing but its bytes', async () => {
    const { client, smmuDevice: deviceId, windowId, smmuRoot } = victim
    await client.detachRid({ deviceId })
    await client.attachRid({ deviceId, ptId: windowId })
    await client.attachPasid({ deviceId, pasid: 5, ptId: smmuRoot })
    for (const iova of [...iovas, WINDOW_BASE, WINDOW_BASE + 0x140n]) {
      for (const pasid of [undefined, 0, 5, 6, 64]) {
        const { explanation } = await client.explain({ deviceId, pasid, iova, access: 1 })
        expect(leaksOf(explanation, iova)).toEqual([])
      }
    }
    const told = await client.translate({ deviceId, access: 1, iovas: [WINDOW_BASE, WINDOW_BASE + 0x1fffn] })
    expect([told.outcomes, told.regionIds, told.offsets].map((column) => [...column].map(Number))).toEqual([
      [DmaOutcome.OK, DmaOutcome.OK],
      [0, 0],
      [0, 0],
    ])
    const operations = [{ address: WINDOW_BASE + 5n * 64n, length: 64 }]
    const [{ data }] = (await client.dmaRead({ deviceId, operations })).results
    // A CD: V and AA64, the root that was asked for, and no other address.
    const words = new BigUint64Array(data.slice().buffer)
    expect(words[1]).toBe(GUEST_BASE)
    expect([words[2], words[4], words[5], words[6], words[7]]).toEqual([0n, 0n, 0n, 0n, 0n])
    const write = await client.dmaWrite({ deviceId, operations: [{ address: WINDOW_BASE, data: new Uint8Array(8) }] })
    expect(write.results.map(({ outcome, doneBytes }) => [outcome, doneBytes])).toEqual([[DmaOutcome.FAULT, 0]])
  })
})

interface Step {
  readonly structure: string
  readonly space: number
  readonly address: bigint
  readonly location?: object
  readonly words: BigUint64Array
  readonly fields: readonly { readonly name: string; readonly value: bigint }[]
  readonly verdict: string
}

/** AddressSpace.PA: of raw units alone. */
const PHYSICAL = 3

/** What a walk tells that only the emulated machine should know. */
function leaksOf(
  explanation: { readonly steps: readonly Step[]; readonly fresh?: object; readonly cached?: object } | undefined,
  iova: bigint,
): string[] {
  const leaks = (explanation?.steps ?? []).flatMap((step) => {
    const { structure, space, address, location, words, fields, verdict } = step
    const found: string[] = []
    if (space === PHYSICAL) found.push(`${structure} is at a physical address`)
    // Tables of the host's are not the guest's to see: neither where they are, nor what is in them.
    if (location === undefined && space === 0) {
      if (address !== 0n) found.push(`${structure} of the host is at ${address}`)
      for (const word of words) if (word !== 0n) found.push(`${structure} of the host holds ${word.toString(16)}`)
      for (const { name, value } of fields) if (value > 0xffff_ffffn) found.push(`${structure}.${name} is ${value}`)
    }
    return [...found, ...foreignAddresses(verdict, iova, words)]
  })
  for (const end of [explanation?.fresh, explanation?.cached]) {
    if (end !== undefined && (end as { address?: bigint }).address !== undefined) leaks.push('a result has an address')
  }
  return leaks
}

/** Addresses in a sentence that are neither the guest's own nor in what the guest wrote. */
function foreignAddresses(sentence: string, iova: bigint, words: BigUint64Array): string[] {
  return [...sentence.matchAll(/0x([0-9a-f]{5,})/gi)]
    .map(([, hex]) => BigInt(`0x${hex}`) & ADDRESS)
    .filter((value) => {
      const isOwn = value >= GUEST_BASE && value < GUEST_BASE + REGION_BYTES
      const isWindow = value >= WINDOW_BASE && value < WINDOW_BASE + 0x2000n
      const isWritten = [...words].some((word) => (word & ADDRESS) === (value & ADDRESS))
      return !isOwn && !isWindow && !isWritten && value !== (iova & ADDRESS)
    })
    .map((value) => `0x${value.toString(16)} in "${sentence}"`)
}

/** The address bits of an entry of either architecture, at a granule of 4 KiB. */
const ADDRESS = 0xffff_ffff_f000n
