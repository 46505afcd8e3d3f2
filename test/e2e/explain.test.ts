/** One walk, step by step, and what the caches say beside it; over a daemon, on both architectures. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type ContextClient, DmaOutcome, type ExplainResponse, HwptFlag, UnitType } from '../../clients/node/index.js'
import { ARM64, contextDescriptor, GuestTree, INTEL, steOneCd } from './guest-tables.js'
import { ARCHS, type Arch, DEVICES, type Vmm, World } from './world.js'

type Explanation = NonNullable<ExplainResponse['explanation']>
type WalkStep = Explanation['steps'][number]

const CD = 0x4000_1000n
const ROOT = 0x4001_0000n
const OTHER_ROOT = 0x4002_0000n
const RAM = 0x4000_0000n
const IOVA = 0x5000_0000n
const PAGE_A = 0x4010_0000n
const PAGE_B = 0x4020_0000n
const ASID = 7n
const VIRT_ID = 0x10n
const IPA = 2

let world: World

beforeAll(async () => {
  world = await World.start()
})

afterEach(() => world.sweep())

afterAll(() => world.stop())

/** A guest's tree on a device, one page of it mapped to A, and not looked up yet. */
async function guest(vmm: Vmm, arch: Arch) {
  const style = arch === 'smmuv3' ? ARM64 : INTEL
  const tree = new GuestTree(world.guest, style, ROOT)
  const leaf = await tree.map(IOVA, PAGE_A)
  const device = await vmm.bind(DEVICES[arch].first)
  const parent = await vmm.parent(device)
  let viommuId = 0
  let userDomainId = 0
  if (arch === 'smmuv3') {
    await world.guest.storeAll(CD, contextDescriptor(ROOT, ASID))
    viommuId = await vmm.viommu(device, parent)
    await vmm.vdevice(viommuId, device, VIRT_ID)
    userDomainId = await vmm.smmuDomain(device, viommuId, steOneCd(CD))
  } else {
    userDomainId = await vmm.vtdDomain(device, parent, ROOT)
  }
  await vmm.client.attachRid({ deviceId: device, ptId: userDomainId })
  const explain = async (iova = IOVA, access = 1): Promise<Explanation> =>
    explanationOf(await vmm.client.explain({ deviceId: device, iova, access }))
  const send = (text: string): Promise<void> => sendAll(vmm.client, text, viommuId, userDomainId)
  return { device, style, tree, leaf, explain, send }
}

function explanationOf({ explanation }: ExplainResponse): Explanation {
  if (explanation === undefined) throw new Error('an explanation was asked for')
  return explanation
}

/** Sends what `missing_invalidation` names, read from its words alone. */
async function sendAll(client: ContextClient, text: string, viommuId: number, userDomainId: number): Promise<void> {
  for (const command of text.replace(/ on the .*$/, '').split(', then ')) {
    const [name, ...operands] = command.split(' ')
    const values = new Map(operands.map((operand) => operand.split('=') as [string, string]))
    const value = (key: string): bigint => BigInt(values.get(key) ?? 'missing')
    if (name === 'P_IOTLB') {
      const entries = [{ addr: value('addr'), npages: value('npages'), flags: 0 }]
      await client.invalidateIotlb({ userDomainId, vtdS1: { entries } })
    } else if (name === 'TLBI_NH_VA') {
      const entries = [{ dw0: 0x12n | (value('ASID') << 48n), dw1: value('ADDR') | value('Leaf') }]
      await client.invalidateIotlb({ viommuId, smmuv3: { entries } })
    } else if (name === 'CFGI_CD') {
      const entries = [{ dw0: 0x05n | (value('SSID') << 12n) | (value('SID') << 32n), dw1: 1n }]
      await client.invalidateIotlb({ viommuId, smmuv3: { entries } })
    } else throw new Error(`no guest gives ${name}`)
  }
}

/** Where each thing is read, as `name stage.level`. */
const shape = (steps: readonly WalkStep[]): string[] =>
  steps.map(({ structure, stage, level }) => (level === undefined ? structure : `${stage}.${level}`))

const fieldOf = (step: WalkStep | undefined, name: string): [value: bigint, text: string] | undefined => {
  const field = step?.fields.find((each) => each.name === name)
  return field && [field.value, field.text]
}

/** What lies in host RAM or in the range of regions; nothing that a guest here names is as high. */
const isPhysical = (value: bigint): boolean => value >= 2n ** 33n && value < 2n ** 48n

/** Every number in a reply, those in its texts and both halves of what it took from tables included. */
function numbersIn(value: unknown): bigint[] {
  if (typeof value === 'bigint') return [value]
  if (typeof value === 'number') return [BigInt(value)]
  if (typeof value === 'string') return [...value.matchAll(/0x[0-9a-f]+|\d+/gi)].map(([text]) => BigInt(text))
  if (value instanceof BigUint64Array) return [...value].map((word) => word & 0xffff_ffff_f000n)
  if (typeof value !== 'object' || value === null) return []
  return Object.values(value).flatMap(numbersIn)
}

/** A guest's own words are its own to see. */
function leaksOf(explanation: Explanation): bigint[] {
  const steps = explanation.steps.map((step) => (step.location === undefined ? step : { ...step, words: undefined }))
  return numbersIn({ ...explanation, steps }).filter(isPhysical)
}

const CONFIGURATION = {
  smmuv3: { first: ['L1STD', 'STE'], cd: ['2.0', '2.1', '2.2', 'CD'], last: 'output' },
  vtd: {
    first: ['scalable-mode root entry', 'scalable-mode context entry', 'PASID directory entry', 'PASID table entry'],
    cd: [],
    last: 'result',
  },
} as const

/** Levels as the manuals count them: stage 1, and the three that a 2 MiB mapping of stage 2 takes. */
const LEVELS = {
  smmuv3: { stage1: [0, 1, 2, 3], stage2: ['2.0', '2.1', '2.2'] },
  vtd: { stage1: [4, 3, 2, 1], stage2: ['2.4', '2.3', '2.2'] },
} as const

describe.each(ARCHS)('a nested walk on %s', (arch) => {
  it('is told in the order of hardware, each table of stage 1 after its own walk of stage 2', async () => {
    const vmm = await world.vmm()
    const { explain } = await guest(vmm, arch)
    const { steps, fresh, cached, missingInvalidation } = await explain(IOVA + 0x123n)
    const { stage1, stage2 } = LEVELS[arch]
    const { first, cd, last } = CONFIGURATION[arch]
    const tables = stage1.flatMap((level) => [...stage2, `1.${level}`])
    expect(shape(steps)).toEqual([...first, ...cd, ...tables, ...stage2, last])
    expect(fresh).toMatchObject({ outcome: DmaOutcome.OK, pageSizeLog2: 12 })
    expect(fresh?.location).toEqual({ regionId: vmm.regionId, offset: PAGE_A - RAM + 0x123n })
    expect([cached, missingInvalidation]).toEqual([undefined, ''])
    await vmm.close()
  })

  it('shows the guest’s tables where they are in its memory, with their words', async () => {
    const vmm = await world.vmm()
    const { explain, leaf, style } = await guest(vmm, arch)
    const own = (await explain()).steps.filter(({ stage }) => stage === 1)
    expect(own.map(({ space }) => space)).toEqual([IPA, IPA, IPA, IPA])
    for (const { location, address } of own) {
      expect(location).toEqual({ regionId: vmm.regionId, offset: address - RAM })
    }
    expect(own[0].address).toBe(ROOT)
    expect(own.map(({ words }) => words[0]).slice(0, 3)).toEqual(
      [1n, 2n, 3n].map((i) => style.table(ROOT + (i << 12n))),
    )
    expect([own[3].address, [...own[3].words]]).toEqual([leaf, [style.page(PAGE_A)]])
    await vmm.close()
  })

  it('tells fields, what follows from each entry, and where the manual says so', async () => {
    const vmm = await world.vmm()
    const { explain } = await guest(vmm, arch)
    const { steps } = await explain()
    const own = steps.filter(({ stage }) => stage === 1)
    expect(own.map(({ verdict }) => verdict)).toEqual([
      ...[1n, 2n, 3n].map((i) => `next table at IPA 0x${(ROOT + (i << 12n)).toString(16)}`),
      arch === 'smmuv3'
        ? 'leaf, 4 KiB, read-write, not global, at IPA 0x40100000'
        : 'leaf, 4 KiB, read-write, user and supervisor, at IPA 0x40100000',
    ])
    if (arch === 'smmuv3') {
      expect(fieldOf(own[3], 'AP')).toEqual([1n, 'read-write, EL0 and EL1'])
      expect(fieldOf(own[3], 'OutputAddress')).toEqual([PAGE_A, ''])
      expect(fieldOf(steps[1], 'Config')).toEqual([7n, 'stage 1 then stage 2'])
      expect(fieldOf(steps[1], 'S1ContextPtr')).toEqual([CD, ''])
      expect(fieldOf(steps[1], 'S2TTB')).toEqual([0n, 'not told'])
      expect(fieldOf(steps[5], 'ASID')).toEqual([ASID, ''])
      expect(steps[1].citation).toBe('[SMMU 5.2 Stream Table Entry]')
    } else {
      expect(fieldOf(own[3], 'D')).toEqual([1n, 'dirty'])
      expect(fieldOf(own[3], 'ADDR')).toEqual([PAGE_A, ''])
      expect(fieldOf(steps[3], 'PGTT')).toEqual([3n, 'nested'])
      expect(fieldOf(steps[3], 'FSPTPTR')).toEqual([ROOT, ''])
      expect(fieldOf(steps[3], 'SSPTPTR')).toEqual([0n, 'not told'])
      expect(steps[3].citation).toBe('[VTD 9.6 Scalable-Mode PASID Table Entry]')
    }
    expect(steps.filter(({ level, citation }) => level !== undefined && citation === '')).toEqual([])
    await vmm.close()
  })

  it('ends at the entry that is not valid, and says which', async () => {
    const vmm = await world.vmm()
    const { explain, leaf } = await guest(vmm, arch)
    await world.guest.store(leaf, 0n)
    const { steps, fresh } = await explain()
    expect(steps.at(-2)?.verdict).toBe(arch === 'smmuv3' ? 'F_TRANSLATION: not valid' : 'not present: P is 0')
    expect(fresh?.outcome).toBe(DmaOutcome.FAULT)
    expect(fresh?.fault).toMatchObject({ stage: 1, recorded: false, code: arch === 'smmuv3' ? 0x10 : 0x71 })
    expect(fresh?.fault?.reason).toContain(
      arch === 'smmuv3' ? 'stage-1 table entry at level 3' : 'first-stage entry at level 1',
    )
    await vmm.close()
  })

  it('names the IPA that stage 2 refused', async () => {
    const vmm = await world.vmm()
    const { explain, leaf, style } = await guest(vmm, arch)
    await world.guest.store(leaf, style.page(0x1_2345_0000n))
    const { fresh } = await explain(IOVA + 0x678n)
    expect(fresh?.fault).toMatchObject({ stage: 2, ipa: 0x1_2345_0678n })
    await vmm.close()
  })
})

describe.each(ARCHS)('on %s', (arch) => {
  it('no physical address of the host is told, whatever is attached and however a walk ends', async () => {
    const vmm = await world.vmm()
    const { explain, leaf, style, device } = await guest(vmm, arch)
    const seen = [await explain(), await explain(0x1000n), await explain(IOVA, 2)]
    await vmm.dma(device, IOVA)
    await world.guest.store(leaf, style.readOnlyPage(PAGE_B))
    seen.push(await explain(IOVA, 2))
    await world.guest.store(leaf, style.page(0x7000_0000n))
    seen.push(await explain())
    await vmm.client.replaceRid({ deviceId: device, ptId: await vmm.paging(device) })
    seen.push(await explain(RAM), await explain(0x1000n))
    await vmm.client.replaceRid({ deviceId: device, ptId: await vmm.parent(device) })
    seen.push(await explain(RAM + 0x1000n), await explain(0x1000n))
    await vmm.client.detachRid({ deviceId: device })
    seen.push(await explain(RAM))
    expect(seen.map(leaksOf)).toEqual(seen.map(() => []))
    expect(seen.every(({ fresh }) => fresh?.address === undefined)).toBe(true)
    expect(seen[5].fresh?.location).toEqual({ regionId: vmm.regionId, offset: 0n })
    const hosts = seen.flatMap(({ steps }) => steps).filter(({ location }) => location === undefined)
    expect(hosts.length).toBeGreaterThan(50)
    expect(hosts.filter(({ words }) => words.length > 0)).toEqual([])
    await vmm.close()
  })

  it('neither the caches nor the event queue notice', async () => {
    const vmm = await world.vmm()
    const { explain, device } = await guest(vmm, arch)
    expect([(await explain()).cached, (await explain()).cached]).toEqual([undefined, undefined])
    expect((await vmm.dma(device, IOVA)).hit).toBe(false)
    expect((await explain()).cached).toMatchObject({ outcome: DmaOutcome.OK })
    expect((await vmm.dma(device, IOVA)).hit).toBe(true)
    await vmm.close()
  })

  it('a forgotten invalidation shows as a difference, and what is named ends it', async () => {
    const vmm = await world.vmm()
    const { explain, device, leaf, style, send } = await guest(vmm, arch)
    await vmm.dma(device, IOVA)
    const same = await explain()
    expect(same.cached).toEqual(same.fresh)
    expect(same.missingInvalidation).toBe('')
    await world.guest.store(leaf, style.page(PAGE_B))
    const stale = await explain(IOVA + 0x42n)
    expect(stale.cached?.location?.offset).toBe(PAGE_A - RAM + 0x42n)
    expect(stale.fresh?.location?.offset).toBe(PAGE_B - RAM + 0x42n)
    expect(stale.missingInvalidation).toBe(
      arch === 'smmuv3'
        ? 'TLBI_NH_VA ASID=7 Leaf=1 ADDR=0x50000000 on the vIOMMU'
        : 'P_IOTLB addr=0x50000000 npages=1 on the user domain',
    )
    await send(stale.missingInvalidation)
    expect(await explain()).toMatchObject({ cached: undefined, missingInvalidation: '' })
    expect(await vmm.dma(device, IOVA)).toMatchObject({ address: PAGE_B })
    const after = await explain()
    expect(after.cached).toEqual(after.fresh)
    await vmm.close()
  })

  it('a page that was unmapped and not forgotten is still in the cache', async () => {
    const vmm = await world.vmm()
    const { explain, device, leaf, send } = await guest(vmm, arch)
    await vmm.dma(device, IOVA)
    await world.guest.store(leaf, 0n)
    const stale = await explain()
    expect([stale.fresh?.outcome, stale.cached?.outcome]).toEqual([DmaOutcome.FAULT, DmaOutcome.OK])
    await send(stale.missingInvalidation)
    expect(await explain()).toMatchObject({ cached: undefined, missingInvalidation: '' })
    await vmm.close()
  })
})

describe('a CD that changed behind the cache', () => {
  /** The guest's second tree maps the page to B; its CD is stored where the first one is cached from. */
  async function moved(vmm: Vmm, asid: bigint) {
    const made = await guest(vmm, 'smmuv3')
    await new GuestTree(world.guest, ARM64, OTHER_ROOT).map(IOVA, PAGE_B)
    await vmm.dma(made.device, IOVA)
    await world.guest.storeAll(CD, contextDescriptor(OTHER_ROOT, asid))
    return made
  }

  it('needs CFGI_CD, by the guest’s name for the device, and with the same ASID the TLB too', async () => {
    const vmm = await world.vmm()
    const { explain, device, send } = await moved(vmm, ASID)
    const stale = await explain()
    expect(stale.missingInvalidation).toBe(
      'CFGI_CD SID=0x10 SSID=0, then TLBI_NH_VA ASID=7 Leaf=0 ADDR=0x50000000 on the vIOMMU',
    )
    await send(stale.missingInvalidation)
    expect((await explain()).missingInvalidation).toBe('')
    expect(await vmm.dma(device, IOVA)).toMatchObject({ address: PAGE_B })
    await vmm.close()
  })

  it('needs CFGI_CD alone where the ASID is a new one', async () => {
    const vmm = await world.vmm()
    const { explain, device, send } = await moved(vmm, 9n)
    const stale = await explain()
    expect(stale.missingInvalidation).toBe('CFGI_CD SID=0x10 SSID=0 on the vIOMMU')
    await send(stale.missingInvalidation)
    expect((await explain()).missingInvalidation).toBe('')
    expect(await vmm.dma(device, IOVA)).toMatchObject({ address: PAGE_B })
    await vmm.close()
  })

  it('is missed where the TLB holds nothing, too', async () => {
    const vmm = await world.vmm()
    const { explain, device, send } = await guest(vmm, 'smmuv3')
    await new GuestTree(world.guest, ARM64, OTHER_ROOT).map(IOVA + 0x1000n, PAGE_B)
    await vmm.dma(device, IOVA)
    await world.guest.storeAll(CD, contextDescriptor(OTHER_ROOT, ASID))
    const stale = await explain(IOVA + 0x1000n)
    expect([stale.fresh?.outcome, stale.cached]).toEqual([DmaOutcome.OK, undefined])
    expect((await vmm.dma(device, IOVA + 0x1000n)).outcome).toBe(DmaOutcome.FAULT)
    await send(stale.missingInvalidation)
    expect(await vmm.dma(device, IOVA + 0x1000n)).toMatchObject({ address: PAGE_B })
    await vmm.close()
  })
})

describe('a PASID on vtd', () => {
  it('has a missing invalidation of its own', async () => {
    const vmm = await world.vmm()
    const tree = new GuestTree(world.guest, INTEL, ROOT)
    const leaf = await tree.map(IOVA, PAGE_A)
    const deviceId = await vmm.bind(DEVICES.vtd.first)
    const ptId = await vmm.vtdDomain(deviceId, await vmm.parent(deviceId), ROOT, HwptFlag.PASID)
    await vmm.client.attachPasid({ deviceId, pasid: 9, ptId })
    await vmm.dma(deviceId, IOVA, 1, 9)
    await world.guest.store(leaf, INTEL.page(PAGE_B))
    const { explanation } = await vmm.client.explain({ deviceId, pasid: 9, iova: IOVA })
    expect(explanation?.missingInvalidation).toBe('P_IOTLB addr=0x50000000 npages=1 on the user domain')
    await sendAll(vmm.client, explanation?.missingInvalidation ?? '', 0, ptId)
    const after = await vmm.client.explain({ deviceId, pasid: 9, iova: IOVA })
    expect(after.explanation).toMatchObject({ cached: undefined, missingInvalidation: '' })
    await vmm.close()
  })
})

describe('ExplainUnit', () => {
  it('shows a raw unit’s owner everything, and names the unit’s own commands', async () => {
    const vmm = await world.vmm()
    const { regionId } = await vmm.client.createMemoryRegion({ anonymous: { bytes: 0x10000n }, busAddress: 0x10_0000n })
    const { unitId } = await vmm.client.createUnit({ type: UnitType.SMMUV3 })
    const store = async (offset: bigint, ...words: bigint[]): Promise<void> => {
      const data = new Uint8Array(BigUint64Array.from(words).buffer)
      await vmm.client.writeMemory({ patches: [{ regionId, offset, data }] })
    }
    // STE 1 at 0x100040: Config 101, CD at 0x101000; a tree below it, of which the leaf maps the region itself.
    await store(0x40n, 0x10_1000n | 0xbn, 0n)
    await store(0x1000n, ...contextDescriptor(0x10_2000n, ASID))
    for (const [i, table] of [0x10_3003n, 0x10_4003n, 0x10_5003n, 0x10_8f47n].entries()) {
      await store(0x2000n + BigInt(i) * 0x1000n, table)
    }
    const writes = [
      { offset: 0x80, width: 8, value: 0x10_0000n },
      { offset: 0x88, width: 4, value: 1n },
      { offset: 0x20, width: 4, value: 1n },
    ]
    await vmm.client.writeUnitRegisters({ unitId, writes })
    await vmm.client.translateUnit({ unitId, sourceIds: [1], iovas: [0n] })
    await store(0x5000n, 0x10_9f47n)
    const explain = async (): Promise<Explanation> =>
      explanationOf(await vmm.client.explainUnit({ unitId, sourceId: 1, iova: 4n }))
    const stale = await explain()
    expect(shape(stale.steps)).toEqual(['STE', 'CD', '1.0', '1.1', '1.2', '1.3', 'output'])
    expect(stale.steps.map(({ space }) => space)).toEqual(Array(7).fill(3))
    expect(stale.steps[0]).toMatchObject({ address: 0x10_0040n, location: { regionId, offset: 0x40n } })
    expect(stale.steps[0].words[0]).toBe(0x10_100bn)
    expect(stale.steps[5].verdict).toBe('leaf, 4 KiB, read-write, not global, at PA 0x109000')
    expect([stale.fresh?.address, stale.cached?.address]).toEqual([0x10_9004n, 0x10_8004n])
    expect(stale.missingInvalidation).toBe('TLBI_NH_VA VMID=0 ASID=7 Leaf=1 ADDR=0x0')
    await store(0x40n, 0n)
    expect(await explain()).toMatchObject({
      fresh: { fault: { name: 'C_BAD_STE', stage: 0 } },
      missingInvalidation: 'CFGI_STE SID=0x1',
    })
    expect((await explain()).steps[0].verdict).toBe('C_BAD_STE: V is 0')
    await vmm.close()
  })
})
