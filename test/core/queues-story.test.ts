/** One guest's queues, told as they should go, with every pause, and with the n-th allocation refused. */

import { describe, expect, it } from 'vitest'
import { Refusal } from '../../server/core/driver.js'
import { QUEUED } from './fake-viommu.js'
import { SpentTurn, Teller } from './paused.js'
import { FIXED, RW, World } from './world.js'

const [NEST, FAULT_ID_VALID] = [1, 4]
const PAGE = 4096n

/** Every queue that a guest can have, faults and events in them, and their ends. Answers what was asked of the queues. */
async function story({ world, ask }: Pick<Teller, 'world' | 'ask'>): Promise<unknown> {
  const [deviceId, other] = [world.bind('arm'), world.bind('arm2')]
  const [ioasId, regionId] = [world.ioas(), world.region()]
  for (const iova of [0x10000n, 0x11000n]) {
    const region = { regionId, offset: iova - 0x10000n }
    await ask('IoasMap', { ioasId, region, length: PAGE, iova, flags: RW | FIXED })
  }
  const made = async (name: Parameters<Teller['ask']>[0], request: object): Promise<number> =>
    Object.values(await ask(name, request as never))[0] as number
  const queue = await made('CreateFaultQueue', {})
  const parentDomainId = await made('CreatePagingDomain', { deviceId, ioasId, flags: NEST })
  const viommuId = await made('CreateViommu', { type: QUEUED, deviceId, parentDomainId })
  const vdevice = await made('CreateVdevice', { viommuId, deviceId, virtId: 3n })
  const events = await made('CreateVeventq', { viommuId, type: 1, depth: 2 })
  const first = await made('CreateHwQueue', {
    viommuId,
    type: QUEUED,
    index: 0,
    nestingParentIova: 0x10800n,
    length: PAGE,
  })
  const second = await made('CreateHwQueue', {
    viommuId,
    type: QUEUED,
    index: 1,
    nestingParentIova: 0x11800n,
    length: 8n,
  })
  const ste = { smmuv3Ste: { ste0: 1n, ste1: 0n }, flags: FAULT_ID_VALID, faultQueueId: queue }
  const user = await made('CreateUserDomain', { deviceId, viommuId, ...ste })
  const own = await made('CreatePagingDomain', { ioasId, ...ste, deviceId: other })
  await ask('AttachRid', { deviceId, ptId: user })
  await ask('AttachRid', { deviceId: other, ptId: own })
  for (const group of [1, 2, 3]) {
    world.machine.fault('arm', { group, isLast: false, pasid: 7 })
    world.machine.fault('arm', { group, pasid: 7 })
  }
  world.machine.fault('arm2')
  const [viommu] = world.machine.viommus
  for (let at = 0; at < 3; at++) viommu.driver.listener?.viommuEvent(viommu, 1, [at], 'event')
  const answers = [
    await ask('PollFaults', { faultQueueId: queue, maxFaults: 5 }),
    await ask('RespondFaults', { faultQueueId: queue, responses: [1, 9].map((cookie) => ({ cookie, code: 1 })) }),
    await ask('PollEvents', { veventqId: events }),
    await ask('IoasUnmap', { ioasId, iova: 0n, length: 2n ** 64n - 1n }),
    await ask('ReplaceRid', { deviceId, ptId: parentDomainId }),
    await ask('PollFaults', { faultQueueId: queue }),
  ]
  await ask('UnbindDevice', { deviceId })
  for (const objectId of [second, first, events, user, viommuId, parentDomainId]) await ask('Destroy', { objectId })
  answers.push(await ask('Destroy', { objectId: vdevice }))
  return answers
}

describe('a story about queues', () => {
  it('goes as it should, and all that it left goes with its context', async () => {
    const teller = new Teller(undefined)
    const answers = (await story({ world: teller.world, ask: teller.ask.bind(teller) })) as readonly {
      readonly [field: string]: unknown
    }[]
    expect(answers).toMatchObject([
      { faults: [1, 1, 2, 2].map((groupId) => ({ groupId, cookie: groupId, pasid: 7 })) },
      { doneCount: 1, refusal: { name: 'EINVAL' } },
      { events: [{ sequence: 0 }, { sequence: 1 }, { sequence: 2, flags: 1 }] },
      { refused: 'EBUSY' },
      { domainId: expect.any(Number) },
      { faults: [{ groupId: 1, pasid: 0 }] },
      { refused: 'ENOENT' },
    ])
    expect(teller.world.machine.log.filter((line) => line.startsWith('respond'))).toEqual([
      'respond 0:7:1 success',
      'respond 0:7:2 invalid',
      'respond 0:7:3 invalid',
    ])
    await teller.ask('CloseContext')
    expect(teller.world.leftovers()).toEqual([])
  })

  it('has the same answers when every pause happens', async () => {
    const told = await Promise.all(
      [undefined, new SpentTurn()].map(async (turn) => {
        const teller = new Teller(turn)
        await story({ world: teller.world, ask: teller.ask.bind(teller) })
        const state = await teller.state()
        await teller.ask('CloseContext')
        expect(teller.world.leftovers()).toEqual([])
        return [teller.answers, state, teller.world.machine.log]
      }),
    )
    expect(told[1]).toEqual(told[0])
  })

  it('is refused as a whole call wherever an allocation is, and leaves nothing', async () => {
    let failAt = 1
    const names = new Set<string>()
    for (; ; failAt++) {
      let asked = 0
      let isBuilt = false
      const failPoint = (what: string): void => {
        if (!isBuilt) return
        asked++
        if (asked !== failAt) return
        names.add(what)
        throw new Refusal('ENOMEM', 'injected')
      }
      const world = new World({ failPoint })
      world.machine.failPoint = failPoint
      isBuilt = true
      const ask: Teller['ask'] = async (name, request) => {
        const reply = await world.begin(name, request as never)
        return reply as unknown as Record<string, unknown>
      }
      const refused = await story({ world, ask }).then(
        () => undefined,
        (error: unknown) => error,
      )
      expect(refused === undefined || refused instanceof Refusal).toBe(true)
      isBuilt = false
      await world.begin('CloseContext')
      expect(world.leftovers()).toEqual([])
      if (asked < failAt) break
    }
    expect(failAt).toBeGreaterThan(30)
    for (const name of ['object', 'pin', 'hw queue', 'viommu', 'page fault', 'event']) expect(names).toContain(name)
  })
})
