/** A guest's RAM: one region of a context, which the raw unit sees on its bus. */

import { type Client, type ContextClient, OracleMode, type StaleTranslation } from '../../node/index.js'

/** Where RAM stands on the bus. */
export const RAM = 0x8000_0000n
const BYTES = 0x10_0000n

/** RAM, and the context that has it. */
export class Memory {
  readonly client: ContextClient
  readonly #regionId: number

  private constructor(client: ContextClient, regionId: number) {
    this.client = client
    this.#regionId = regionId
  }

  /** Opens a context with some. */
  static async open(daemon: Client): Promise<Memory> {
    const client = daemon.inContext((await daemon.openContext()).context)
    const { regionId } = await client.createMemoryRegion({ anonymous: { bytes: BYTES }, busAddress: RAM })
    return new Memory(client, regionId)
  }

  /** Writes 64-bit words. */
  async store(address: bigint, ...words: readonly bigint[]): Promise<void> {
    const data = new Uint8Array(BigUint64Array.from(words).buffer)
    await this.client.writeMemory({ patches: [{ regionId: this.#regionId, offset: address - RAM, data }] })
  }

  /** A chain of tables, one in each page from `root` on, that leads the first 2 MiB to the last of them. */
  async chain(root: bigint, levels: number, isTable: bigint): Promise<bigint> {
    for (let at = 0n; at < BigInt(levels - 1); at++) {
      await this.store(root + at * 0x1000n, root + (at + 1n) * 0x1000n + isTable)
    }
    return root + BigInt(levels - 1) * 0x1000n
  }

  /** Switches the oracle of a unit on. */
  async watch(unitId: number): Promise<void> {
    await this.client.setOracleMode({ unitId, mode: OracleMode.REPORT })
  }

  /** What the oracle has found. */
  async reports(unitId: number): Promise<readonly StaleTranslation[]> {
    return (await this.client.listStaleTranslations({ unitId })).stale
  }
}
