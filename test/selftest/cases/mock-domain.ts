/** The fixture `iommufd_mock_domain`: what is mapped is what the domain leads to, whatever the alignment. */

import { expect } from 'vitest'
import { struct, u32 } from '../harness/bytes.js'
import { HWPT, MAP } from '../harness/calls.js'
import type { Fixture } from '../harness/fixture.js'
import { type Lab, type Stdev, testCommand } from '../harness/lab.js'
import { CACHED, expectCaches } from '../harness/mock-facts.js'
import { OP } from '../harness/mock-world.js'
import { BUFFER, BUFFER_BYTES, E, FILE_BUFFER, PAGE } from '../harness/process.js'

interface Variant {
  readonly domains: number
  readonly huge: boolean
  readonly file: boolean
}

interface Self {
  readonly ioas: number
  readonly devices: readonly Stdev[]
  /** Bytes of the tests' own buffer. */
  readonly bytes: bigint
}

/** Where a test's own buffer is. */
const OWN = 0x7f30_0000_0000n

/** The test's own buffer: a region, and for the variants with a file a descriptor of it. */
async function ownBuffer({ process }: Lab, bytes: bigint): Promise<{ region: number; fd: number }> {
  const { regionId: region } = await process.client.createMemoryRegion({ anonymous: { bytes }, clientAddress: OWN })
  return { region, fd: (await process.client.openHandle({ regionId: region })).handle }
}

/** Every device of the fixture finds what is at the caller's address. */
async function check(lab: Lab, { devices }: Self, va: bigint, iova: bigint, length: bigint): Promise<void> {
  for (const device of devices) expect(await lab.world.checkMap(lab.iommufd, device, iova, length, va)).toBe(0)
}

/** Whole pages of the caller's have so many pins; only the mock can tell. */
async function checkRefs(lab: Lab, va: bigint, length: bigint, refs: number): Promise<void> {
  if (lab.world.name !== 'mock' || length === 0n) return
  const { errno } = await testCommand(lab.iommufd, OP.MD_CHECK_REFS, 0, struct([8, length], [8, va], [4, refs]))
  expect([errno, va, length, refs]).toEqual([0, va, length, refs])
}

const wholePage = (at: bigint): bigint => at - (at % PAGE)

/** Maps every start and length of the buffer, and does something while it is mapped. */
async function everyAlignment(
  lab: Lab,
  self: Self,
  { huge, file }: Variant,
  whileMapped: (va: bigint, iova: bigint, length: bigint) => Promise<void>,
): Promise<void> {
  const { iommufd, world } = lab
  const { ioas, bytes } = self
  const { fd } = await ownBuffer(lab, bytes)
  await checkRefs(lab, OWN, bytes, 0)
  const step = huge ? bytes / 16n : world.page
  for (let start = 0n; start < bytes; start += step) {
    for (let end = huge ? bytes : start + world.page; end <= bytes; end += world.page) {
      const length = end - start
      const mapped = file
        ? await iommufd.mapFile(ioas, fd, start, length)
        : await iommufd.map(ioas, OWN + start, length)
      expect([mapped.errno, mapped.reason]).toEqual([0, ''])
      await whileMapped(OWN + start, mapped.iova, length)
      const first = wholePage(start)
      await checkRefs(lab, OWN + first, wholePage(end) - first, 1)
      expect(await iommufd.unmap(ioas, mapped.iova, length)).toEqual({ errno: 0, length })
    }
  }
  await checkRefs(lab, OWN, bytes, 0)
}

const ONLY_TEST_COMMAND = 'an access of the kernel’s own is made by IOMMU_TEST_CMD alone'

/** The fixture. */
export const MOCK_DOMAIN: Fixture<Self, Variant> = {
  name: 'iommufd_mock_domain',
  variants: {
    one_domain: { domains: 1, huge: false, file: false },
    two_domains: { domains: 2, huge: false, file: false },
    one_domain_hugepage: { domains: 1, huge: true, file: false },
    two_domains_hugepage: { domains: 2, huge: true, file: false },
    one_domain_file: { domains: 1, huge: false, file: true },
    one_domain_file_hugepage: { domains: 1, huge: true, file: true },
  },
  async setUp(lab, { domains, huge }) {
    const { iommufd, world } = lab
    const { id: ioas } = await iommufd.ioasAlloc()
    const devices: Stdev[] = []
    for (let at = 0; at < domains; at++) {
      const device = await world.mockDomain(iommufd, ioas)
      expect([device.errno, device.reason]).toEqual([0, ''])
      devices.push(device)
      if (world.name === 'mock') await expectCaches(lab, device.dev, CACHED)
    }
    return { ioas, devices, bytes: huge ? 0x40_0000n : 8n * PAGE }
  },
  tests: {
    basic: {
      async run(self, lab, { file }) {
        const { iommufd, process } = lab
        const { ioas, bytes } = self
        if (!file) {
          const one = await iommufd.map(ioas, BUFFER, PAGE)
          expect(one.errno).toBe(0)
          await check(lab, self, BUFFER, one.iova, PAGE)
          // Nothing is at the second half of the range, and then at none of it.
          const { region } = await ownBuffer(lab, bytes / 2n)
          expect((await iommufd.map(ioas, OWN, bytes)).errno).toBe(E.FAULT)
          await process.client.destroyMemoryRegion({ regionId: region })
          expect((await iommufd.map(ioas, OWN, bytes)).errno).toBe(E.FAULT)
          return
        }
        const one = await iommufd.mapFile(ioas, process.mfd, 0n, PAGE)
        expect(one.errno).toBe(0)
        await check(lab, self, FILE_BUFFER, one.iova, PAGE)
        const { fd } = await ownBuffer(lab, bytes)
        expect((await iommufd.mapFile(ioas, fd, 0n, bytes + lab.world.page)).errno).toBe(E.INVAL)
        // A region does not shrink: what is asked for lies behind its end.
        expect((await iommufd.mapFile(ioas, fd, bytes, bytes)).errno).toBe(E.INVAL)
      },
    },

    ro_unshare: {
      async run(self, lab) {
        const { iommufd, process } = lab
        const { region } = await ownBuffer(lab, PAGE * 16n)
        const { errno, iova } = await iommufd.map(self.ioas, OWN, PAGE, undefined, MAP.READABLE)
        expect(errno).toBe(0)
        await check(lab, self, OWN, iova, PAGE)
        const data = new Uint8Array(4096).fill(1)
        await process.client.writeMemory({ patches: [{ regionId: region, offset: 0n, data }] })
        await check(lab, self, OWN, iova, PAGE)
      },
    },

    all_aligns: {
      async run(self, lab, variant) {
        await everyAlignment(lab, self, variant, (va, iova, length) => check(lab, self, va, iova, length))
      },
    },

    all_aligns_copy: {
      async run(self, lab, variant) {
        const { iommufd, world } = lab
        await everyAlignment(lab, self, variant, async (va, iova, length) => {
          // A domain of its own comes and goes while the area exists.
          const { id } = await iommufd.hwptAlloc(self.devices[0].dev, self.ioas)
          const another = await world.mockDomain(iommufd, id)
          expect([another.errno, another.reason]).toEqual([0, ''])
          await check(lab, { ...self, devices: [...self.devices, another] }, va, iova, length)
          expect(await world.release(iommufd, another)).toBe(0)
          expect(await iommufd.destroy(id)).toBe(0)
        })
      },
    },

    user_copy: {
      not: { smmuv3: ONLY_TEST_COMMAND, vtd: ONLY_TEST_COMMAND },
      async run(self, lab, { file }) {
        const { iommufd, process, world } = lab
        const va = file ? FILE_BUFFER : BUFFER
        const map = (ioas: number) =>
          file ? iommufd.mapFile(ioas, process.mfd, 0n, BUFFER_BYTES) : iommufd.map(ioas, va, BUFFER_BYTES)
        const pin = async (access: number, iova: bigint): Promise<number> => {
          const body = struct([4, 0], [4, 0], [8, iova], [8, BUFFER_BYTES], [8, va])
          const { errno, arg, reason } = await testCommand(iommufd, OP.ACCESS_PAGES, access, body)
          expect([errno, reason]).toEqual([0, ''])
          return u32(arg, 20)
        }
        const copied = async (source: number, iova: bigint): Promise<void> => {
          expect((await iommufd.copy(self.ioas, source, iova, BUFFER_BYTES, world.base, MAP.WRITEABLE)).errno).toBe(0)
          await check(lab, self, va, world.base, BUFFER_BYTES)
        }
        const { id: first } = await iommufd.ioasAlloc()
        const one = await map(first)
        const made = await testCommand(iommufd, OP.CREATE_ACCESS, first, struct([4, 0], [4, 1]))
        expect(made.errno).toBe(0)
        const access = u32(made.arg, 16)
        await pin(access, one.iova)
        await copied(first, one.iova)
        const { id: second } = await iommufd.ioasAlloc()
        const two = await map(second)
        expect((await testCommand(iommufd, OP.ACCESS_REPLACE_IOAS, access, struct([4, second]))).errno).toBe(0)
        expect((await iommufd.unmap(self.ioas, world.base, BUFFER_BYTES)).errno).toBe(0)
        expect(await iommufd.destroy(first)).toBe(0)
        const item = await pin(access, two.iova)
        await copied(second, two.iova)
        expect((await testCommand(iommufd, OP.DESTROY_ACCESS_PAGES, access, struct([4, item]))).errno).toBe(0)
        expect(await process.close(access)).toBe(0)
        expect(await iommufd.destroy(second)).toBe(0)
      },
    },

    replace: {
      async run({ ioas, devices }, { iommufd, world }, { domains }) {
        const [device, second] = devices
        const { id } = await iommufd.ioasAlloc()
        expect((await world.replace(iommufd, device, id)).errno).toBe(0)
        // The automatic domain that it left is gone, unless another device is on it.
        if (domains === 1) expect((await world.replace(iommufd, device, device.hwpt)).errno).toBe(E.NOENT)
        expect((await world.replace(iommufd, device, id)).errno).toBe(0)
        if (domains === 2) {
          expect((await world.replace(iommufd, device, second.hwpt)).errno).toBe(0)
          expect((await world.replace(iommufd, device, second.hwpt)).errno).toBe(0)
          expect((await world.replace(iommufd, device, device.hwpt)).errno).toBe(0)
        }
        expect((await world.replace(iommufd, device, ioas)).errno).toBe(0)
        expect(await iommufd.destroy(id)).toBe(0)
      },
    },

    alloc_hwpt: {
      async run({ ioas, devices }, { iommufd, world }) {
        for (const device of devices) {
          const all = 0xffff_ffff & ~HWPT.NEST_PARENT
          expect((await iommufd.hwptAlloc(device.dev, ioas, all)).errno).toBe(E.OPNOTSUPP)
          const { id: plain } = await iommufd.hwptAlloc(device.dev, ioas)
          const parent = await iommufd.hwptAlloc(device.dev, ioas, HWPT.NEST_PARENT)
          expect([parent.errno, parent.reason]).toEqual([0, ''])
          for (const id of [plain, parent.id]) {
            expect(await world.replace(iommufd, device, id)).toMatchObject({ errno: 0, hwpt: id })
            expect(await iommufd.destroy(id)).toBe(E.BUSY)
          }
          expect((await world.replace(iommufd, device, ioas)).errno).toBe(0)
          expect(await iommufd.destroy(parent.id)).toBe(0)
          const another = await world.mockDomain(iommufd, plain)
          expect([another.errno, another.reason]).toEqual([0, ''])
          expect(await world.release(iommufd, another)).toBe(0)
          expect(await iommufd.destroy(plain)).toBe(0)
        }
      },
    },
  },
}
