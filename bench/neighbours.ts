/**
 * What two loud clients cost a quiet one: the first maps and unmaps 16 GiB in pages of 4 KiB again and again, the second
 * ends with 100,000 areas, and the third asks for one translation at a time, through the same unit as the first.
 */

import { type ContextClient, ContextLifetime, IoasMapFlag } from '../clients/node/index.js'
import { startDaemon } from '../clients/node/testing.js'
import { Asker, type Wait } from './asker.js'
import { manyAreas } from './large-calls.js'

const [LOOPING, QUIET, DYING] = ['0000:00:01.0', '0000:00:02.0', '0000:01:01.0']
const MAP = IoasMapFlag.FIXED_IOVA | IoasMapFlag.READABLE | IoasMapFlag.WRITEABLE
const HUGE_PAGES = 2
const LOOPED_BYTES = 16n * 2n ** 30n
const IOVA = 0x1_0000_0000n

/** Waits of the third client: with nothing else going on, and beside the two. */
export interface Round {
  readonly idle: Wait
  readonly beside: Wait
}

/** @param rounds how often each is measured, one after the other; the second client ends once in each */
export async function waitsBesideNeighbours(idleMs: number, rounds: number): Promise<readonly Round[]> {
  const daemon = await startDaemon()
  const open = async () => {
    const { context } = await daemon.client.openContext({ lifetime: ContextLifetime.EXPLICIT })
    return { context, client: daemon.client.inContext(context) }
  }
  try {
    const { context, client } = await open()
    const { deviceId } = await mapped(client, QUIET, 2n ** 21n)
    const asker = await Asker.start({ socketPath: daemon.socketPath, translate: { context, deviceId, iova: IOVA } })
    const pause = (): Promise<unknown> => new Promise((done) => setTimeout(done, idleMs))
    await asker.during('warm', pause)
    const loop = await looping((await open()).client)
    const measured: Round[] = []
    for (let round = 0; round < rounds; round++) {
      const dying = (await open()).client
      await manyAreas(dying, DYING)
      const idle = await asker.during('idle', pause)
      const beside = await asker.during('neighbours', async () => {
        const until = performance.now() + idleMs
        let isOver = false
        const death = dying.closeContext({}).finally(() => (isOver = true))
        do await loop()
        while (!isOver || performance.now() < until)
        await death
      })
      measured.push({ idle, beside })
    }
    await asker.stop()
    return measured
  } finally {
    await daemon.stop()
  }
}

/** Maps and unmaps everything once. */
async function looping(client: ContextClient): Promise<() => Promise<void>> {
  const { ioasId, regionId } = await mapped(client, LOOPING, LOOPED_BYTES)
  const request = { ioasId, flags: MAP, region: { regionId, offset: 0n }, length: LOOPED_BYTES, iova: IOVA }
  return async () => {
    const { length } = await client.ioasUnmap({ ioasId, iova: IOVA, length: LOOPED_BYTES })
    if (length !== LOOPED_BYTES) throw new Error(`${length} bytes were unmapped`)
    await client.ioasMap(request)
  }
}

async function mapped(client: ContextClient, deviceName: string, bytes: bigint) {
  const { ioasId } = await client.createIoas()
  await client.setOption({ option: HUGE_PAGES, objectId: ioasId, value: 0n })
  const { deviceId } = await client.bindDevice({ deviceName })
  await client.attachRid({ deviceId, ptId: ioasId })
  const { regionId } = await client.createMemoryRegion({ anonymous: { bytes } })
  await client.ioasMap({ ioasId, flags: MAP, region: { regionId, offset: 0n }, length: bytes, iova: IOVA })
  return { ioasId, regionId, deviceId }
}
