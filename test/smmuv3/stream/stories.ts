/**
 * Operations that are not in the recording, as Linux's driver does them: read out of its source (7.1), function by
 * function, and written down here by hand. Ours are given by the driver itself.
 */

import { PRESETS } from '../../../hw-model/smmuv3/index.js'
import type { DeviceDriver, PagingFlags, PagingOps } from '../../../server/core/driver.js'
import { givenData } from '../../../server/core/driver.js'
import { invalidateCommands } from '../../given.js'
import { commandsOf } from './compare.js'
import { CLIENT_RAM, ListenedHost } from './listener.js'
import { spelled } from './spell.js'

/** One operation: what Linux's source gives for it, what ours gave, and why they differ where they do. */
export interface Story {
  readonly title: string
  /** Functions of Linux's driver that give the commands. */
  readonly source: string
  readonly linux: readonly string[]
  readonly ours: readonly string[]
  readonly why: string
}

const RW = { read: true, write: true }
const PLAIN: PagingFlags = { nestParent: false, dirtyTracking: false, pasid: false }
const SID = 8
const TWO_MIB = 0x20_0000n

const times = (count: number, line: string): readonly string[] => new Array<string>(count).fill(line)
const ste = (syncs: number): readonly string[] => [
  ...times(syncs, 'CFGI_STE SID=0x8 Leaf=1; SYNC'),
  'PREFETCH_CONFIG SID=0x8',
]
const cd = (ssid: number, syncs: number): readonly string[] => times(syncs, `CFGI_CD SID=0x8 SSID=${ssid} Leaf=1; SYNC`)

/** Every story, in the order of the page. */
export const stories = (): readonly Story[] => [
  ...pasidStories(),
  ...replaceStories(),
  ...flushStories(),
  ...singleStories(),
  ...nestedStories(),
  ...atsStories(),
]

/** Tells stories on one host. */
class Teller {
  readonly host: ListenedHost
  readonly device: DeviceDriver
  readonly stories: Story[] = []

  constructor(ats = false, ril = true) {
    const IDR3 = ril ? PRESETS.default.IDR3 : PRESETS.default.IDR3 & ~(1 << 10)
    this.host = new ListenedHost(ats ? {} : { IDR3 }, ats ? 'ats' : 'default')
    this.device = this.host.driver.probe({ rid: SID, pasidLg2: 20, ats, pri: false })
    this.host.taken()
  }

  paging(flags: Partial<PagingFlags> = {}): PagingOps {
    return this.host.driver.createPaging(this.device, { ...PLAIN, ...flags })
  }

  /** Does it and takes down what was given. */
  tell(title: string, source: string, linux: readonly string[], act: () => void, why = ''): void {
    this.host.taken()
    act()
    this.stories.push({ title, source, linux, ours: spelled(commandsOf(this.host.taken())), why })
  }
}

function pasidStories(): readonly Story[] {
  const teller = new Teller()
  const { device } = teller
  const [first, second] = [teller.paging({ pasid: true }), teller.paging({ pasid: true })]
  const set = 'arm_smmu_set_pasid'
  const clear = 'arm_smmu_blocking_set_dev_pasid'
  const leaf = 'CFGI_CD SID=0x8 SSID=5 Leaf=0; SYNC'
  teller.tell('the first PASID, the RID blocked', set, [leaf, ...cd(5, 2), ...ste(2)], () => device.set(5, first, null))
  teller.tell('another PASID of the same leaf', set, cd(6, 2), () => device.set(6, second, null))
  teller.tell('a PASID goes', clear, [...cd(6, 2), 'TLBI_NH_ASID VMID=0 ASID=2; SYNC'], () => device.clear(6, second))
  const last = [...cd(5, 2), 'TLBI_NH_ASID VMID=0 ASID=1; SYNC', ...ste(2)]
  teller.tell('the last PASID goes, the RID blocked', clear, last, () => device.clear(5, first))
  return teller.stories
}

function replaceStories(): readonly Story[] {
  const teller = new Teller()
  const { device } = teller
  const [first, second, stageTwo] = [teller.paging(), teller.paging(), teller.paging({ nestParent: true })]
  device.set(0, first, null)
  const dropped = (asid: number): string => `TLBI_NH_ASID VMID=0 ASID=${asid}; SYNC`
  const source = 'arm_smmu_attach_dev'
  // ASID and TTB0 are in two 64-bit words, so the CD is invalid in between.
  const another = [...cd(0, 3), 'PREFETCH_CONFIG SID=0x8', dropped(1)]
  teller.tell('stage 1 replaced by stage 1', source, another, () => device.set(0, second, first))
  const deeper = [...ste(3), ...cd(0, 2), dropped(2)]
  teller.tell('stage 1 replaced by stage 2', source, deeper, () => device.set(0, stageTwo, second))
  const back = [...cd(0, 2), ...ste(3), 'TLBI_S12_VMALL VMID=1; SYNC']
  teller.tell('stage 2 replaced by stage 1', source, back, () => device.set(0, first, stageTwo))
  return teller.stories
}

/** Where pages, 2 MiB blocks and a table of pages are. */
function fill(domain: PagingOps): void {
  domain.map(0x1000n, CLIENT_RAM, 0x2000n, RW)
  domain.map(0x10_0000n, CLIENT_RAM + 0x1000, 35n * 0x1000n, RW)
  domain.map(0x4000_0000n, CLIENT_RAM, 3n * TWO_MIB, RW)
  domain.map(0x8000_0000n, CLIENT_RAM + 0x1000, TWO_MIB, RW)
}

function flushStories(): readonly Story[] {
  const teller = new Teller()
  const domain = teller.paging()
  fill(domain)
  teller.device.set(0, domain, null)
  const unmap = (iova: bigint, length: bigint) => (): void => {
    domain.unmap(iova, length)
    void domain.flush()
  }
  const tlbi = (rest: string): string => `TLBI_NH_VA VMID=0 ASID=1 ${rest}`
  const source = 'arm_smmu_domain_inv_range'
  teller.tell('map', 'none', [], () => domain.map(0x9000n, CLIENT_RAM, 0x1000n, RW))
  const page = [tlbi('NUM=0 SCALE=0 TTL=3 TG=1 Leaf=1 0x1000; SYNC')]
  teller.tell('unmap of a page', source, page, unmap(0x1000n, 0x1000n))
  const range = [
    tlbi('NUM=2 SCALE=0 TTL=3 TG=1 Leaf=1 0x100000'),
    tlbi('NUM=0 SCALE=5 TTL=3 TG=1 Leaf=1 0x103000; SYNC'),
  ]
  teller.tell('unmap of 35 pages', source, range, unmap(0x10_0000n, 35n * 0x1000n))
  const blocks = [tlbi('NUM=0 SCALE=10 TTL=2 TG=1 Leaf=1 0x40000000; SYNC')]
  teller.tell('unmap of two blocks of 2 MiB', source, blocks, unmap(0x4000_0000n, 2n * TWO_MIB))
  const table = [tlbi('NUM=0 SCALE=9 TTL=0 TG=1 Leaf=0 0x80000000; SYNC')]
  const walk = 'arm_smmu_tlb_inv_walk'
  teller.tell('unmap of a whole table of pages', walk, table, unmap(0x8000_0000n, TWO_MIB))
  return teller.stories
}

/** Without range commands. */
function singleStories(): readonly Story[] {
  const teller = new Teller(false, false)
  const domain = teller.paging()
  fill(domain)
  domain.map(0xc000_0000n, CLIENT_RAM + 0x1000, 2n * TWO_MIB, RW)
  teller.device.set(0, domain, null)
  const unmap = (iova: bigint, length: bigint) => (): void => {
    domain.unmap(iova, length)
    void domain.flush()
  }
  const source = 'arm_smmu_domain_inv_range'
  const page = ['TLBI_NH_VA VMID=0 ASID=1 Leaf=1 0x1000', 'TLBI_NH_VA VMID=0 ASID=1 Leaf=1 0x2000; SYNC']
  domain.map(0x3000n, CLIENT_RAM, 0x1000n, RW)
  teller.tell('two pages, on a unit without IDR3.RIL', source, page, unmap(0x1000n, 0x2000n))
  const blocks = [0x4000_0000n, 0x4000_0000n + TWO_MIB].map(
    (at) => `TLBI_NH_VA VMID=0 ASID=1 Leaf=1 0x${at.toString(16)}`,
  )
  const two = [blocks[0], `${blocks[1]}; SYNC`]
  teller.tell('two blocks, without IDR3.RIL', source, two, unmap(0x4000_0000n, 2n * TWO_MIB))
  const many = ['TLBI_NH_ASID VMID=0 ASID=1; SYNC']
  teller.tell('512 pages and more, without IDR3.RIL', source, many, unmap(0xc000_0000n, 2n * TWO_MIB))
  return teller.stories
}

function nestedStories(): readonly Story[] {
  const teller = new Teller()
  const { device, host } = teller
  const parent = teller.paging({ nestParent: true })
  parent.map(0x4000_0000n, CLIENT_RAM, 0x4000_0000n, RW)
  parent.map(0x1000n, CLIENT_RAM, 0x3000n, RW)
  const viommu = host.driver.createViommu(device, parent)
  viommu.addVdevice(device, 0x55n)
  const user = (ste0: bigint) =>
    viommu.createUserDomain(device, givenData('smmuv3_ste', { ste0, ste1: 0xd4n }), { pasid: false })
  const [one, other] = [user(0x4001_000bn), user(0x4002_000bn)]
  const source = 'arm_smmu_attach_dev_nested'
  teller.tell("a guest's stage 1 on a blocked RID", source, ste(2), () => device.set(0, one, null))
  teller.tell("the guest's CD table moves", source, ste(1), () => device.set(0, other, one))
  const commands = [
    { dw0: 0x12n | (7n << 48n), dw1: 0x5000n | 1n },
    { dw0: 0x05n | (3n << 12n) | (0x55n << 32n), dw1: 1n },
  ]
  const told = ['TLBI_NH_VA VMID=1 ASID=7 Leaf=1 0x5000', 'CFGI_CD SID=0x8 SSID=3 Leaf=1; SYNC']
  const invalidate = () => void invalidateCommands(viommu, commands)
  teller.tell('a guest invalidates a page and a CD', 'arm_vsmmu_cache_invalidate', told, invalidate)
  const unmapped = ['TLBI_S2_IPA VMID=1 NUM=0 SCALE=0 TTL=3 TG=1 Leaf=1 0x1000; SYNC', 'TLBI_NH_ALL VMID=1; SYNC']
  teller.tell("a page of the guest's memory is unmapped", 'arm_smmu_domain_inv_range', unmapped, () => {
    parent.unmap(0x1000n, 0x1000n)
    void parent.flush()
  })
  const gone = [...ste(2), 'TLBI_S12_VMALL VMID=1; SYNC']
  teller.tell('the guest is detached', 'arm_smmu_attach_dev_blocked', gone, () => device.clear(0, other))
  return teller.stories
}

function atsStories(): readonly Story[] {
  const teller = new Teller(true)
  const { device } = teller
  const domain = teller.paging()
  domain.map(0x1000n, CLIENT_RAM, 0x8000n, RW)
  const both =
    'An invalidation without a PASID reaches, to Linux, what was obtained with one, too; here a second one says so (G).'
  const all = 'ATC_INV SID=0x8 Size=52 0x0; SYNC'
  const source = 'arm_smmu_attach_dev, arm_smmu_enable_ats'
  const attach = ['CFGI_CD SID=0x8 SSID=0 Leaf=0; SYNC', ...cd(0, 2), ...ste(2), all]
  const attachAct = () => void device.set(0, domain, null)
  teller.tell('attach of a device with ATS', source, attach, attachAct, both)
  const unmap = [
    'TLBI_NH_VA VMID=0 ASID=1 NUM=2 SCALE=0 TTL=3 TG=1 Leaf=1 0x2000; SYNC',
    'ATC_INV SID=0x8 Size=3 0x0; SYNC',
  ]
  teller.tell('unmap of three pages, with ATS', 'arm_smmu_domain_inv_range', unmap, () => {
    domain.unmap(0x2000n, 0x3000n)
    void domain.flush()
  })
  const detach = [...ste(2), all, 'TLBI_NH_ASID VMID=0 ASID=1; SYNC', ...cd(0, 2)]
  const why = `${both} And what the unit keeps is forgotten before the device is asked, which may take its time.`
  teller.tell(
    'detach of a device with ATS',
    'arm_smmu_attach_dev_blocked',
    detach,
    () => void device.clear(0, domain),
    why,
  )
  return teller.stories
}
