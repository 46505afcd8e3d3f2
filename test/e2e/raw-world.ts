/** A daemon, RAM in a file, and a context in which a guest's driver and its device meet a raw unit. */

import { tmpdir } from 'node:os'
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import type { ContextClient, TransactionResult } from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { FileRam } from './file-ram.js'
import { READ } from './world.js'

/** Physical address of the first byte of RAM. */
export const RAM_BASE = 0x8000_0000n

const RAM_BYTES = 0x40_0000n

/** The stream that does DMA, in the second leaf of the stream table. */
export const SID = 0x108

/** Where its page is mapped. */
export const IOVA = 0x7f00_1234_5000n

/** How one access ended. */
export interface Access {
  readonly outcome: number
  readonly address: bigint
  readonly fault: string | undefined
  /** PENDING: what AwaitDma asks for. */
  readonly id: bigint
}

/** The world of one test file; each test has a context and RAM of its own. */
export class RawWorld {
  daemon!: Daemon
  ram!: FileRam
  client!: ContextClient
  /** A page of RAM. */
  page = 0n

  /** One access of the stream. */
  async dma(
    { unitId }: { readonly unitId: number },
    iova: bigint,
    access = READ,
    more: { pasid?: number; translated?: boolean } = {},
  ): Promise<Access> {
    const batch = { unitId, sourceIds: [SID], iovas: [iova], access, ...more }
    const { outcomes, addresses, faults, transactionIds } = await this.client.translateUnit(batch)
    return { outcome: outcomes[0], address: addresses[0], fault: faults[0]?.name, id: transactionIds[0] }
  }

  /** How a pending transaction ended. */
  async endOf(id: bigint): Promise<TransactionResult> {
    return (await this.client.awaitDma({ transactionIds: [id] })).results[0]
  }
}

/** Starts the world of a test file, and ends it. */
export function rawWorld(): RawWorld {
  const world = new RawWorld()
  beforeAll(async () => {
    world.daemon = await startDaemon({ fileRoots: [tmpdir()] })
  })
  afterAll(() => world.daemon.stop())
  beforeEach(async () => {
    world.ram = new FileRam(RAM_BASE, RAM_BYTES)
    world.page = world.ram.allocate(0x1000n)
    world.client = world.daemon.client.inContext((await world.daemon.client.openContext({})).context)
  })
  afterEach(async () => {
    await world.client.closeContext({})
    world.ram.remove()
  })
  return world
}
