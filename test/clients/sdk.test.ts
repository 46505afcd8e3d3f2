/** The SDK as a test harness uses it: a daemon of its own, in a process or in this one, and errors worth reading. */

import { mkdtempSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  CodecError,
  ContextLifetime,
  connect,
  type DirtyReader,
  type DirtyRun,
  DmaOutcome,
  dirtyRuns,
  type InvalidateIotlbResponse,
  IommudError,
  TransportError,
} from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'

describe.each([
  ['a child process', false],
  ['this process', true],
])('a daemon in %s', (_where, inProcess) => {
  let daemon: Daemon

  beforeAll(async () => {
    daemon = await startDaemon({ inProcess, clock: 'manual', seed: 7 })
  })

  afterAll(async () => {
    await daemon.stop()
  })

  it('says what it is', async () => {
    const info = await daemon.client.getServerInfo()
    expect(info).toMatchObject({ manualClock: true, seed: 7n })
    expect(info.units.map(({ name }) => name)).toEqual(['smmu0', 'vtd0'])
  })

  it('moves a DMA through a domain, with bigint addresses and typed arrays', async () => {
    const { context } = await daemon.client.openContext({ lifetime: ContextLifetime.EXPLICIT })
    const vmm = daemon.client.inContext(context)
    const { regionId } = await vmm.createMemoryRegion({ anonymous: { bytes: 0x10000n } })
    const { ioasId } = await vmm.createIoas()
    // The highest addresses that 48 bits have.
    const iova = 0x7fff_ffff_0000n
    await vmm.ioasMap({ ioasId, flags: 7, region: { regionId, offset: 0n }, length: 0x10000n, iova })
    const { deviceId } = await vmm.bindDevice({ deviceName: '0000:01:01.0' })
    await vmm.attachRid({ deviceId, ptId: ioasId })
    const reply = await vmm.translate({ deviceId, iovas: [iova + 0x1234n, 0n] })
    expect(reply.outcomes).toEqual(Uint32Array.of(DmaOutcome.OK, DmaOutcome.FAULT))
    expect(reply.offsets).toEqual(BigUint64Array.of(0x1234n, 0n))
    await vmm.closeContext()
  })

  it('ends a lease when its clock says so, and tells the next call', async () => {
    const { context } = await daemon.client.openContext({ lifetime: ContextLifetime.LEASE, leaseMs: 1000 })
    const vmm = daemon.client.inContext(context)
    await daemon.client.advanceClock({ advanceMs: 999n })
    await vmm.getContext()
    await daemon.client.advanceClock({ advanceMs: 1001n })
    await expect(vmm.getContext()).rejects.toMatchObject({ errnoName: 'EBADF' })
  })

  it('refuses with errno, reason and facts', async () => {
    const { context } = await daemon.client.openContext({ lifetime: ContextLifetime.EXPLICIT })
    const vmm = daemon.client.inContext(context)
    const error = await vmm.destroy({ objectId: 5 }).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(IommudError)
    expect(error).toMatchObject({ code: 'not_found', errno: 2, errnoName: 'ENOENT' })
    expect((error as IommudError).message).toMatch(/^Destroy: ENOENT: id 5 is not in use/)
    await vmm.closeContext()
  })

  it('rejects with what was done where a call got part of the way', async () => {
    const { context } = await daemon.client.openContext({ lifetime: ContextLifetime.EXPLICIT })
    const vmm = daemon.client.inContext(context)
    const { regionId } = await vmm.createMemoryRegion({ anonymous: { bytes: 4096n } })
    const patches = [
      { regionId, offset: 0n, data: Uint8Array.of(1) },
      { regionId, offset: 4096n, data: Uint8Array.of(2) },
    ]
    const error = await vmm.writeMemory({ patches }).catch((caught: unknown) => caught)
    expect(error).toMatchObject({ errnoName: 'EINVAL', partial: { doneCount: 1 } })
    expect((error as IommudError<InvalidateIotlbResponse>).partial?.doneCount).toBe(1)
    await vmm.closeContext()
  })

  it('is not even asked when a request cannot be spelled', async () => {
    const wrong = { objectId: 2 ** 32 }
    await expect(daemon.client.destroy(wrong)).rejects.toBeInstanceOf(CodecError)
  })
})

describe('a daemon on loopback TCP', () => {
  it('lets in who has its token, and nobody else', async () => {
    const tokenFile = join(mkdtempSync(join(tmpdir(), 'iommud-sdk-')), 'token')
    const daemon = await startDaemon({ args: ['--listen', '127.0.0.1:0', '--token-file', tokenFile] })
    try {
      const port = Number(/listening on .*127\.0\.0\.1:(\d+)/.exec(daemon.log())?.[1])
      const { readFileSync } = await import('node:fs')
      const token = readFileSync(tokenFile, 'utf8').trim()
      const client = connect({ tcp: { host: '127.0.0.1', port, token } })
      expect((await client.getServerInfo()).bootId).toMatch(/^[0-9a-f]{32}$/)
      client.close()
      const stranger = connect({ tcp: { host: '127.0.0.1', port, token: 'guess' } })
      await expect(stranger.getServerInfo()).rejects.toMatchObject({ code: 'unauthenticated' })
      stranger.close()
    } finally {
      await daemon.stop()
    }
  })
})

describe('a client', () => {
  it('of no daemon fails with where it looked', async () => {
    const client = connect({ socketPath: '/nonexistent/iommud.sock' })
    await expect(client.getServerInfo()).rejects.toThrow(TransportError)
    await expect(client.getServerInfo()).rejects.toThrow('/nonexistent/iommud.sock')
  })

  it('with a deadline does not wait for a peer that says nothing', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'iommud-sdk-')), 'silent.sock')
    const silent = createServer(() => undefined)
    await new Promise<void>((listening) => silent.listen(path, listening))
    const client = connect({ socketPath: path })
    await expect(client.getServerInfo({}, { timeoutMs: 1 })).rejects.toThrow(TransportError)
    client.close()
    silent.close()
  })
})

describe('dirtyRuns', () => {
  it('goes on where a reply was full, to the end of the range, and asks for all of 64 bits as the kernel does', async () => {
    const asked: [bigint, bigint, number | undefined][] = []
    const reader: DirtyReader = {
      getDirtyBitmap: async ({ iova, length, flags, asRuns }) => {
        expect(asRuns).toBe(true)
        asked.push([iova, length, flags])
        const isFirst = asked.length === 1
        const first = isFirst ? 0x1000n : 2n ** 64n - 0x1000n
        return {
          runFirsts: BigUint64Array.of(first),
          runLasts: BigUint64Array.of(first + 0xfffn),
          nextIova: isFirst ? 0x8000n : undefined,
        }
      },
    }
    const runs: DirtyRun[] = []
    const range = { domainId: 3, iova: 0n, length: 0n, pageSize: 4096n, flags: 1 }
    for await (const run of dirtyRuns(reader, range)) runs.push(run)
    expect(runs).toEqual([
      { first: 0x1000n, last: 0x1fffn },
      { first: 2n ** 64n - 0x1000n, last: 2n ** 64n - 1n },
    ])
    expect(asked).toEqual([
      [0n, 0n, 1],
      [0x8000n, 2n ** 64n - 0x8000n, 1],
    ])
  })

  it('is what a client in a context reads', async () => {
    const daemon = await startDaemon({ inProcess: true })
    const { context } = await daemon.client.openContext()
    const client = daemon.client.inContext(context)
    const { ioasId } = await client.createIoas()
    const { deviceId } = await client.bindDevice({ deviceName: '0000:01:01.0' })
    const { domainId } = await client.createPagingDomain({ deviceId, ioasId, flags: 2 })
    await client.attachRid({ deviceId, ptId: domainId })
    const { regionId } = await client.createMemoryRegion({ anonymous: { bytes: 0x10_0000n } })
    const iova = 0x10000n
    await client.ioasMap({ ioasId, flags: 7, region: { regionId, offset: 0n }, length: 0x10_0000n, iova })
    await client.setDirtyTracking({ domainId, flags: 1 })
    const operations = [0x11ff0n, 0x18000n].map((address) => ({ address, data: new Uint8Array(0x20) }))
    await client.dmaWrite({ deviceId, operations })
    const runs = async () => {
      const found: DirtyRun[] = []
      const range = { domainId, iova, length: 2n ** 40n, pageSize: 4096n }
      for await (const run of dirtyRuns(client, range)) found.push(run)
      return found
    }
    expect(await runs()).toEqual([
      { first: 0x11000n, last: 0x12fffn },
      { first: 0x18000n, last: 0x18fffn },
    ])
    expect(await runs()).toEqual([])
    await daemon.stop()
  })
})
