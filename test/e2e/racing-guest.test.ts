/**
 * A guest CPU that stores a page-table entry as fast as it can while devices do DMA through it. The entry goes back and
 * forth between two values that differ in both halves; every DMA must end at the one place or the other, never at a
 * mixture, and the flags that VT-d sets must never undo a store.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ContextLifetime, DmaOutcome, IoasMapFlag, ViommuType } from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { GuestMemory, RAM_BASE, RAM_BYTES } from './guest-memory.js'
import { ARM64, contextDescriptor, GuestTree, INTEL, steOneCd } from './guest-tables.js'
import { ARCHS, type Arch, DEVICES } from './world.js'

const CD = 0x4000_1000n
const ROOT = 0x4001_0000n
const IOVA = 0x3333_3000n
/** The same RAM once more, above 4 GiB, so that the two entries differ in their high halves too. */
const MIRROR = 0x2_4000_0000n
const PAGE_A = RAM_BASE + 0x10_0000n
const PAGE_B = MIRROR + 0x20_0000n

/** Maps the guest's RAM and stores two values in turn, eight bytes at once, until it is told to stop. */
const RACER = `
const koffi = require('koffi')
const fs = require('node:fs')
const [path, bytes, offset, a, b] = process.argv.slice(1)
const libc = koffi.load(null)
const mmap = libc.func('void *mmap(void *, size_t, int, int, int, int64_t)')
const fd = fs.openSync(path, 'r+')
const words = new BigUint64Array(koffi.view(mmap(null, Number(bytes), 3, 1, fd, 0), Number(bytes)))
const at = Number(offset) / 8
const values = [BigInt(a), BigInt(b)]
console.log('running')
const burst = () => {
  for (let i = 0; i < 200000; i++) words[at] = values[i & 1]
  setImmediate(burst)
}
burst()
`

const ROUNDS = process.env['IOMMUD_TEST_LONG'] === '1' ? 400 : 40
const BATCH = 1024

let daemon: Daemon
let guest: GuestMemory
let folder: string

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'iommud-racing-'))
  // Without a cache every DMA walks.
  const cache = { entries: 0, ways: 1 }
  const units = [
    { name: 'smmu0', type: 'smmuv3', cache },
    { name: 'vtd0', type: 'vtd', cache },
  ]
  const devices = ARCHS.map((arch) => ({ name: DEVICES[arch].first, iommu: arch === 'smmuv3' ? 'smmu0' : 'vtd0' }))
  const platform = join(folder, 'platform.json')
  writeFileSync(platform, JSON.stringify({ units, devices }))
  guest = await GuestMemory.start()
  daemon = await startDaemon({ fileRoots: [guest.folder], args: ['--platform', platform] })
})

afterAll(async () => {
  await daemon.stop()
  guest.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** A device of the architecture on a user domain over the guest's tree. Answers its id and the leaf's place. */
async function attach(arch: Arch) {
  const { context } = await daemon.client.openContext({ lifetime: ContextLifetime.EXPLICIT })
  const vmm = daemon.client.inContext(context)
  const file = { path: guest.path, offset: 0n, bytes: RAM_BYTES, writable: true }
  const { regionId } = await vmm.createMemoryRegion({ file })
  const { ioasId } = await vmm.createIoas()
  const flags = IoasMapFlag.FIXED_IOVA | IoasMapFlag.READABLE | IoasMapFlag.WRITEABLE
  for (const iova of [RAM_BASE, MIRROR]) {
    await vmm.ioasMap({ ioasId, flags, region: { regionId, offset: 0n }, length: RAM_BYTES, iova })
  }
  const { deviceId } = await vmm.bindDevice({ deviceName: DEVICES[arch].first })
  const parent = await vmm.createPagingDomain({ flags: 1, deviceId, ioasId })
  const leaf = await new GuestTree(guest, arch === 'smmuv3' ? ARM64 : INTEL, ROOT).map(IOVA, PAGE_A)
  let ptId: number
  if (arch === 'smmuv3') {
    await guest.storeAll(CD, contextDescriptor(ROOT, 7n))
    const type = ViommuType.ARM_SMMUV3
    const { viommuId } = await vmm.createViommu({ type, deviceId, parentDomainId: parent.domainId })
    await vmm.createVdevice({ viommuId, deviceId, virtId: 1n })
    ptId = (await vmm.createUserDomain({ deviceId, viommuId, smmuv3Ste: steOneCd(CD) })).domainId
  } else {
    const vtdS1 = { pgtblAddr: ROOT, addrWidth: 48 }
    ptId = (await vmm.createUserDomain({ deviceId, parentDomainId: parent.domainId, vtdS1 })).domainId
  }
  await vmm.attachRid({ deviceId, ptId })
  return { vmm, deviceId, regionId, leaf }
}

async function race(leaf: bigint, a: bigint, b: bigint): Promise<ChildProcess> {
  const args = [guest.path, RAM_BYTES, leaf - RAM_BASE, a, b].map(String)
  const racer = spawn(process.execPath, ['-e', RACER, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  await new Promise<void>((running) => racer.stdout?.once('data', () => running()))
  return racer
}

/** Entries without flags set, so that hardware that keeps flags has work to do on every DMA. */
const ENTRIES: Readonly<Record<Arch, (address: bigint) => bigint>> = {
  smmuv3: (address) => address | 0xf47n,
  vtd: (address) => address | 0x7n,
}

describe.each(ARCHS)('on %s, DMA through an entry that another process keeps changing', (arch) => {
  it('ends at the old place or at the new one', { timeout: 120_000 }, async () => {
    const { vmm, deviceId, regionId, leaf } = await attach(arch)
    const [a, b] = [ENTRIES[arch](PAGE_A), ENTRIES[arch](PAGE_B)]
    const racer = await race(leaf, a, b)
    const seen = new Map<bigint, number>()
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const accesses = Uint32Array.from({ length: BATCH }, (_, i) => 1 + (i & 1))
        const iovas = new BigUint64Array(BATCH).fill(IOVA)
        const reply = await vmm.translate({ deviceId, iovas, accesses })
        for (let i = 0; i < BATCH; i++) {
          expect(reply.outcomes[i]).toBe(DmaOutcome.OK)
          expect(reply.regionIds[i]).toBe(regionId)
          seen.set(reply.offsets[i], (seen.get(reply.offsets[i]) ?? 0) + 1)
        }
      }
    } finally {
      racer.kill('SIGKILL')
    }
    // Both were met, and nothing else was.
    expect([...seen.keys()].sort()).toEqual([PAGE_A - RAM_BASE, PAGE_B - MIRROR].sort())
    const slice = { regionId, offset: leaf - RAM_BASE, length: 8 }
    const { data } = await vmm.readMemory({ slices: [slice] })
    const last = new DataView(data[0].buffer, data[0].byteOffset).getBigUint64(0, true)
    const flags = arch === 'vtd' ? 0x60n : 0n
    expect([a, b]).toContain(last & ~flags)
    await vmm.closeContext({})
  })
})
