/** M5: every kind of domain on a PASID, beside everything that the RID can hold, and what each refusal says. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DmaOutcome } from '../../clients/node/index.js'
import { everyKind, type Kinds, PORTS, platformFor, USER_IOVA, USER_PAGE } from './every-kind.js'
import { type Arch, READ, refusal, type Vmm, World } from './world.js'

const MAPPED = 0x4000_0000n
const PASID = 3

/** An errno, and what the reason says of the way out. */
type No = readonly [errnoName: string, reason: RegExp]

const FLAG: No = ['EINVAL', /made without HWPT_FLAG_PASID \(8\): make one with flags 8/]
const UNIT: No = ['EINVAL', /was made for (unit1|alien0), and the device is behind unit0/]
const STE: No = ['EINVAL', /binds the RID and all its PASIDs.*attach it to the RID/]
const NO_DOMAIN: No = ['EINVAL', /is a .*, neither an IOAS/]
const WINDOW: No = ['EINVAL', /is a table for all PASIDs: attach it to the RID/]
const ROOT: No = ['EINVAL', /is a place in window \d+: .* the window to the RID first/]
const NO_PRI: No = ['ENODEV', /needs ATS and PRI/]
/** The RID holds what has no room for PASIDs beside it. */
const RID: No = ['EINVAL', /the RID is attached to .*(detach|replace)/]

/** What becomes of each kind on a PASID of an unattached RID; `true` is taken. */
const ON_PASID: Readonly<Record<Arch, Readonly<Record<string, true | No>>>> = {
  smmuv3: {
    ...{ pasid: true, dirtyPasid: true, faulting: true },
    ...{ ioas: FLAG, plain: FLAG, dirty: FLAG, parent: FLAG, otherUnit: UNIT, otherArch: UNIT },
    ...{ translate: STE, bypass: STE, abort: STE },
    ...{ window: WINDOW, root: ROOT },
    ...{ viommu: NO_DOMAIN, device: NO_DOMAIN, faultQueue: NO_DOMAIN },
  },
  vtd: {
    ...{ pasid: true, dirtyPasid: true, parentPasid: true, userPasid: true, faulting: NO_PRI },
    ...{ ioas: FLAG, plain: FLAG, dirty: FLAG, parent: FLAG, user: FLAG, otherUnit: UNIT, otherArch: UNIT },
    ...{ device: NO_DOMAIN, faultQueue: NO_DOMAIN },
  },
}

/** What the RID can hold: with PASIDs beside it, and without. */
const ON_RID = {
  smmuv3: {
    beside: ['pasid', 'dirtyPasid', 'faulting'],
    alone: ['ioas', 'plain', 'dirty', 'parent', 'translate', 'bypass', 'abort'],
  },
  vtd: {
    beside: ['pasid', 'dirtyPasid', 'parentPasid', 'userPasid'],
    alone: ['ioas', 'plain', 'dirty', 'parent', 'user'],
  },
} as const

const USERS: readonly string[] = ['translate', 'user', 'userPasid']

describe.each(['smmuv3', 'vtd'] as const)('M5 on %s', (arch) => {
  let world: World
  let vmm: Vmm
  let deviceId: number
  let kinds: Kinds

  beforeAll(async () => {
    world = await World.start(platformFor(arch))
    vmm = await world.vmm()
    deviceId = await vmm.bind(PORTS.plain)
    kinds = await everyKind(world, vmm, arch, deviceId)
  })

  afterAll(() => world.stop())

  /** Where DMA through a kind goes, as a lookup there ends. */
  const reaches = (kind: string, pasid?: number) =>
    USERS.includes(kind) ? vmm.dma(deviceId, USER_IOVA, READ, pasid) : vmm.dma(deviceId, MAPPED, READ, pasid)
  const place = (kind: string) => (USERS.includes(kind) ? USER_PAGE : kind === 'abort' ? undefined : MAPPED)

  const expectNo = async (call: Promise<unknown>, [errnoName, reason]: No, what: string): Promise<void> => {
    const no = await refusal(call).catch(() => ({ errnoName: 'none', reason: '' }))
    expect.soft(`${what}: ${no.errnoName}`).toBe(`${what}: ${errnoName}`)
    expect.soft(no.reason, what).toMatch(reason)
  }

  /** Each kind on the PASID, with the RID as it is: taken where `may`, else refused because of the RID. */
  async function tryAll(rid: string, may: boolean): Promise<void> {
    for (const [kind, ends] of Object.entries(ON_PASID[arch])) {
      const what = `${kind} beside ${rid}`
      const attach = vmm.client.attachPasid({ deviceId, pasid: PASID, ptId: kinds[kind] })
      if (ends !== true) await expectNo(attach, ends === NO_PRI && !may ? RID : ends, what)
      else if (!may) await expectNo(attach, RID, what)
      else {
        expect(await attach, what).toEqual({ domainId: kinds[kind] })
        expect(await reaches(kind, PASID), what).toMatchObject({ address: place(kind) })
        await vmm.client.detachPasid({ deviceId, pasid: PASID })
      }
      expect((await reaches(kind, PASID)).outcome, what).not.toBe(DmaOutcome.OK)
      if (rid !== 'nothing') expect((await reaches(rid)).address, what).toBe(place(rid))
    }
  }

  it('a PASID takes each kind that fits it while the RID is blocked, and says of the others what they are', async () => {
    await tryAll('nothing', true)
  })

  it.each(ON_RID[arch].beside)('a PASID takes the same beside a RID on %s', async (rid) => {
    await vmm.client.attachRid({ deviceId, ptId: kinds[rid] })
    await tryAll(rid, true)
    await vmm.client.detachRid({ deviceId })
  })

  it.each(ON_RID[arch].alone)('a PASID takes nothing beside a RID on %s, whose way out is told', async (rid) => {
    await vmm.client.attachRid({ deviceId, ptId: kinds[rid] })
    await tryAll(rid, false)
    await vmm.client.detachRid({ deviceId })
  })

  it('a RID takes beside a used PASID what lets PASIDs be, by attach and by replace', async () => {
    await vmm.client.attachPasid({ deviceId, pasid: PASID, ptId: kinds['pasid'] })
    for (const kind of ON_RID[arch].beside) {
      await vmm.client.attachRid({ deviceId, ptId: kinds[kind] })
      expect(await reaches(kind), kind).toMatchObject({ address: place(kind) })
      await vmm.client.detachRid({ deviceId })
    }
    const inUse: No = ['EINVAL', /PASID 3 is attached.*detach/]
    for (const kind of ON_RID[arch].alone) {
      await expectNo(vmm.client.attachRid({ deviceId, ptId: kinds[kind] }), inUse, `attach ${kind}`)
    }
    await vmm.client.attachRid({ deviceId, ptId: kinds['pasid'] })
    for (const kind of ON_RID[arch].beside) {
      await vmm.client.replaceRid({ deviceId, ptId: kinds[kind] })
      expect(await reaches(kind), kind).toMatchObject({ address: place(kind) })
    }
    await vmm.client.replaceRid({ deviceId, ptId: kinds['pasid'] })
    for (const kind of ON_RID[arch].alone) {
      await expectNo(vmm.client.replaceRid({ deviceId, ptId: kinds[kind] }), inUse, `replace by ${kind}`)
      expect(await reaches('pasid')).toMatchObject({ address: MAPPED })
    }
    expect(await reaches('pasid', PASID)).toMatchObject({ address: MAPPED })
    await vmm.client.detachPasid({ deviceId, pasid: PASID })
    await vmm.client.detachRid({ deviceId })
  })

  it('a used PASID moves to each kind that fits it, and stays where it is when refused', async () => {
    const move = (kind: string) => vmm.client.replacePasid({ deviceId, pasid: PASID, ptId: kinds[kind] })
    await expectNo(move('pasid'), ['EINVAL', /nothing is attached to PASID 3.*attach it first/], 'empty')
    await vmm.client.attachPasid({ deviceId, pasid: PASID, ptId: kinds['dirtyPasid'] })
    await expectNo(
      vmm.client.attachPasid({ deviceId, pasid: PASID, ptId: kinds['pasid'] }),
      ['EBUSY', /replace|detach/i],
      'attach anew',
    )
    let holds = 'dirtyPasid'
    for (const [kind, ends] of Object.entries(ON_PASID[arch])) {
      if (ends === true) {
        expect(await move(kind), kind).toMatchObject({ domainId: kinds[kind] })
        holds = kind
      } else await expectNo(move(kind), ends, `replace by ${kind}`)
      expect(await reaches(holds, PASID), `after ${kind}`).toMatchObject({ address: place(holds) })
      const { attachments } = await vmm.client.getDevice({ deviceId })
      expect(attachments.map(({ pasid, domainId }) => [pasid, domainId])).toEqual([[PASID, kinds[holds]]])
    }
    await expectNo(vmm.client.destroy({ objectId: kinds[holds] }), ['EBUSY', /is held by device/], 'destroy')
    await vmm.client.detachPasid({ deviceId, pasid: PASID })
  })

  it('PASIDs end at the device’s width, PASID 0 is the RID, and empty slots may be detached', async () => {
    const noPasids = await vmm.bind(PORTS.noPasids)
    const few = await vmm.bind(PORTS.fewPasids)
    const ptId = kinds['pasid']
    const attach = (id: number, pasid: number, domain = ptId) =>
      vmm.client.attachPasid({ deviceId: id, pasid, ptId: domain })
    await expectNo(attach(deviceId, 0), ['EINVAL', /PASID 0 is the RID.*AttachRid/], '0')
    await expectNo(attach(deviceId, 2 ** 20), ['EINVAL', /PASIDs below 1048576/], '2^20')
    await expectNo(attach(deviceId, 2 ** 31), ['ENOSPC', /below 2\^31/], '2^31')
    await expectNo(attach(few, 16), ['EINVAL', /PASIDs below 16/], '16 of 4 bits')
    await expectNo(attach(noPasids, 1), ['EINVAL', /has no PASIDs/], 'no PASIDs')
    await expectNo(attach(deviceId, 1, 9999), ['ENOENT', /9999/], 'no such domain')
    await expectNo(attach(9999, 1), ['ENOENT', /bound device/], 'no such device')
    for (const [id, pasid] of [
      [deviceId, 2 ** 20 - 1],
      [few, 15],
    ]) {
      await attach(id, pasid)
      expect(await vmm.dma(id, MAPPED, READ, pasid)).toMatchObject({ address: MAPPED })
      await vmm.client.detachPasid({ deviceId: id, pasid })
      expect((await vmm.dma(id, MAPPED, READ, pasid)).outcome).not.toBe(DmaOutcome.OK)
      await vmm.client.detachPasid({ deviceId: id, pasid })
    }
  })
})
