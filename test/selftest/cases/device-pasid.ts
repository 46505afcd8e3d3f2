/** The fixture `iommufd_device_pasid`: which domains go on a PASID, beside what is on the RID. */

import { expect } from 'vitest'
import { struct } from '../harness/bytes.js'
import { HWPT, type HwptData } from '../harness/calls.js'
import type { Fixture } from '../harness/fixture.js'
import { type Lab, type Stdev, testCommand } from '../harness/lab.js'
import { faultRoundTrip } from '../harness/mock-facts.js'
import { MOCK, OP } from '../harness/mock-world.js'
import { E } from '../harness/process.js'

interface Self {
  readonly ioas: number
  readonly device: Stdev
  /** Without PASIDs. */
  readonly plain?: Stdev
}

/** User domains for PASIDs, of the worlds that have them. */
const DATA: Readonly<Partial<Record<Lab['world']['name'], HwptData>>> = {
  mock: { type: 0xdead, data: struct([4, 0xbadbeef], [4, 0]) },
  vtd: { type: 1, data: struct([8, 0], [8, 0x1000], [4, 48], [4, 0]) },
}

/** What is on a PASID, 0 for nothing. */
async function expectOn(lab: Lab, { device }: Self, pasid: number, hwpt: number): Promise<void> {
  if (lab.world.name === 'mock') {
    const body = struct([4, pasid], [4, hwpt])
    expect((await testCommand(lab.iommufd, OP.PASID_CHECK_HWPT, device.stdev, body)).errno).toBe(0)
    return
  }
  const { attachments } = await lab.process.client.getDevice({ deviceId: device.dev })
  expect(attachments.find((one) => one.pasid === pasid)?.domainId ?? 0).toBe(hwpt)
}

/** Domains for PASIDs: two user domains, or where those take whole RIDs two kernel-owned ones. */
async function pasidDomains(lab: Lab, { ioas, device }: Self, parent: number): Promise<readonly [number, number]> {
  const data = DATA[lab.world.name]
  const make = async (): Promise<number> => {
    const { id, errno, reason } = await lab.iommufd.hwptAlloc(
      device.dev,
      data === undefined ? ioas : parent,
      HWPT.PASID,
      data,
    )
    expect([errno, reason]).toEqual([0, ''])
    return id
  }
  return [await make(), await make()]
}

async function playFaults(lab: Lab, self: Self, parent: number, kernelOwned: number): Promise<void> {
  const { iommufd, process, world } = lab
  const { device } = self
  const { id: fault, fd } = await iommufd.faultQueue()
  const data = DATA[world.name]
  const on = data === undefined ? self.ioas : parent
  const iopf = await iommufd.hwptAlloc(device.dev, on, HWPT.FAULT | HWPT.PASID, { ...data, fault })
  expect([iopf.errno, iopf.reason]).toEqual([0, ''])
  // A VT-d device without page requests cannot have one.
  expect(await world.pasidAttach(iommufd, device, 2048, iopf.id)).toBe(world.name === 'vtd' ? E.NODEV : 0)
  if (world.name !== 'vtd') {
    await expectOn(lab, self, 2048, iopf.id)
    if (world.name === 'mock') await faultRoundTrip(lab, device.dev, 2048, fd)
    expect(await world.pasidReplace(iommufd, device, 2048, kernelOwned)).toBe(0)
    await expectOn(lab, self, 2048, kernelOwned)
    expect(await world.pasidDetach(iommufd, device, 2048)).toBe(0)
  }
  expect(await iommufd.destroy(iopf.id)).toBe(0)
  expect(await process.close(fd)).toBe(0)
  expect(await iommufd.destroy(fault)).toBe(0)
}

/** The fixture; a variant says whether every device has PASIDs. */
export const DEVICE_PASID: Fixture<Self, boolean> = {
  name: 'iommufd_device_pasid',
  variants: { no_pasid: false, has_pasid: true },
  async setUp({ iommufd, world }, allHave) {
    const { id: ioas } = await iommufd.ioasAlloc()
    const take = async (flags: number | undefined): Promise<Stdev> => {
      const device = await world.mockDomain(iommufd, ioas, flags)
      expect([device.errno, device.reason]).toEqual([0, ''])
      return device
    }
    const device = await take(MOCK.PASID)
    return { ioas, device, plain: allHave ? undefined : await take(world.name === 'mock' ? 0 : undefined) }
  },
  tests: {
    pasid_attach: {
      async run(self, lab) {
        const { iommufd, world } = lab
        const { ioas, device, plain } = self
        const attach = (pasid: number, pt: number) => world.pasidAttach(iommufd, device, pasid, pt)
        const detach = async (pasid: number) => expect(await world.pasidDetach(iommufd, device, pasid)).toBe(0)
        const rid = async (one: Stdev, pt: number) => (await world.replace(iommufd, one, pt)).errno
        // VFIO's attach replaces what is there, and attaches where nothing is; the kernel's own calls tell them apart.
        const isRaw = world.name === 'mock'
        await detach(100)
        const { id: parent } = await iommufd.hwptAlloc(device.dev, ioas, HWPT.NEST_PARENT)
        const { id: owned } = await iommufd.hwptAlloc(device.dev, ioas, HWPT.PASID)
        const [one, two] = await pasidDomains(lab, self, parent)

        expect(await rid(device, parent)).toBe(0)
        expect(await attach(100, owned)).toBe(E.INVAL)
        expect(await rid(device, owned)).toBe(0)
        expect(await attach(100, one)).toBe(0)
        expect(await rid(device, parent)).toBe(E.INVAL)
        await detach(100)
        await expectOn(lab, self, 100, 0)
        if (plain !== undefined) {
          expect(await rid(plain, one)).toBe(0)
          expect(await rid(plain, ioas)).toBe(0)
          for (const pt of [parent, owned]) expect(await world.pasidAttach(iommufd, plain, 100, pt)).toBe(E.INVAL)
        }
        for (const pt of [parent, ioas]) {
          expect(await attach(100, pt)).toBe(E.INVAL)
          await expectOn(lab, self, 100, 0)
        }
        expect(await attach(100, owned)).toBe(0)
        await expectOn(lab, self, 100, owned)
        expect(await attach(100, one)).toBe(isRaw ? E.BUSY : 0)
        await detach(100)
        await expectOn(lab, self, 100, 0)
        expect(await attach(100, one)).toBe(0)
        await expectOn(lab, self, 100, one)
        expect(await attach(100, one)).toBe(isRaw ? E.BUSY : 0)
        await detach(100)

        if (isRaw) expect(await world.pasidReplace(iommufd, device, 200, owned)).toBe(E.INVAL)
        expect(await attach(200, owned)).toBe(0)
        expect(await world.pasidReplace(iommufd, device, 200, ioas)).toBe(E.INVAL)
        await expectOn(lab, self, 200, owned)
        for (const domain of [one, two]) {
          expect(await world.pasidReplace(iommufd, device, 200, domain)).toBe(0)
          await expectOn(lab, self, 200, domain)
        }
        await detach(200)

        expect(await attach(1024, owned)).toBe(0)
        // The mock fails here on purpose, and what was there stays.
        expect(await world.pasidReplace(iommufd, device, 1024, one)).toBe(isRaw ? E.NOMEM : 0)
        await expectOn(lab, self, 1024, isRaw ? owned : one)
        await detach(1024)

        await playFaults(lab, self, parent, owned)
        expect(await rid(device, ioas)).toBe(0)
      },
    },
  },
}
