/** Replays a capture on a private raw unit: the guest's own registers, the guest's own tables, every row. */

import { type ContextClient, DmaOutcome, UnitType } from '../../node/index.js'
import type { Answer } from './compare.js'
import type { Capture, CapturedRow } from './folder.js'
import { EVENTQ_CONS, EVENTQ_PROD, idRegistersOf, programOf } from './registers.js'

/** Lookups in one message; the daemon's limit is larger. */
export const BATCH = 1024

/** READ and WRITE of AccessFlag. */
export const accessOf = (row: CapturedRow): number => (row.access === 'r' ? 1 : 2)

/** A region of the context that stands for a range of the guest's RAM. */
export interface GuestRegion {
  readonly regionId: number
  readonly base: bigint
  readonly lengthBytes: bigint
}

/** Bytes of captured memory in one message. */
const PATCH_BYTES = 512 * 1024

/** Registers the guest's RAM, visible on raw units' buses at its guest-physical addresses, and fills in the tables. */
export async function registerGuestMemory(context: ContextClient, capture: Capture): Promise<GuestRegion[]> {
  const regions: GuestRegion[] = []
  for (const { base, lengthBytes } of capture.ram) {
    const label = `guest RAM at 0x${base.toString(16)}`
    const source = { anonymous: { bytes: lengthBytes }, busAddress: base, label }
    regions.push({ regionId: (await context.createMemoryRegion(source)).regionId, base, lengthBytes })
  }
  let patches: { regionId: number; offset: bigint; data: Uint8Array }[] = []
  let waiting = 0
  const flush = async (): Promise<void> => {
    if (patches.length > 0) await context.writeMemory({ patches })
    patches = []
    waiting = 0
  }
  for (const { address, bytes } of capture.pages) {
    const region = findRegion(regions, address)
    if (region === undefined) throw new Error(`the captured page at 0x${address.toString(16)} is not in RAM`)
    for (let at = 0; at < bytes.length; at += PATCH_BYTES) {
      const data = bytes.subarray(at, at + PATCH_BYTES)
      if (waiting + data.length > PATCH_BYTES) await flush()
      patches.push({ regionId: region.regionId, offset: address - region.base + BigInt(at), data })
      waiting += data.length
    }
  }
  await flush()
  return regions
}

/** The region that holds a guest-physical address. */
export const findRegion = (regions: readonly GuestRegion[], address: bigint): GuestRegion | undefined =>
  regions.find(({ base, lengthBytes }) => address >= base && address < base + lengthBytes)

/** A raw unit in the captured state. */
export class RawReplay {
  readonly #context: ContextClient
  readonly #unitId: number
  readonly #type: Capture['type']

  private constructor(context: ContextClient, unitId: number, type: Capture['type']) {
    this.#context = context
    this.#unitId = unitId
    this.#type = type
  }

  /** Makes the unit with the guest's ID registers and writes the rest of its registers. */
  static async start(context: ContextClient, capture: Capture): Promise<RawReplay> {
    const type = capture.type === 'smmuv3' ? UnitType.SMMUV3 : UnitType.VTD
    const { unitId } = await context.createUnit({ type, overrides: idRegistersOf(capture) })
    await context.writeUnitRegisters({ unitId, writes: programOf(capture) })
    return new RawReplay(context, unitId, capture.type)
  }

  /** Translates rows that all carry the same PASID, or none. */
  async translate(rows: readonly CapturedRow[]): Promise<Answer[]> {
    const reply = await this.#context.translateUnit({
      unitId: this.#unitId,
      sourceIds: Uint32Array.from(rows, (row) => row.sid),
      pasid: rows[0].pasid ?? undefined,
      iovas: BigUint64Array.from(rows, (row) => row.iova),
      accesses: Uint32Array.from(rows, accessOf),
    })
    await this.#makeRoomForEvents()
    const names = new Map(reply.faults.map((fault) => [fault.index, fault.name]))
    return rows.map((_, i) =>
      answerOf(this.#type, reply.outcomes[i], reply.faultCodes[i], names.get(i), reply.addresses[i]),
    )
  }

  /** The walk of one row, a step a line. */
  async explain(row: CapturedRow): Promise<string[]> {
    const pasid = row.pasid ?? undefined
    const request = { unitId: this.#unitId, sourceId: row.sid, pasid, iova: row.iova, access: accessOf(row) }
    const { explanation } = await this.#context.explainUnit(request)
    return (explanation?.steps ?? []).map(describeStep)
  }

  /** A guest's driver reads its events; without one the queue of a long capture would fill. */
  async #makeRoomForEvents(): Promise<void> {
    if (this.#type !== 'smmuv3') return
    const unitId = this.#unitId
    const { values } = await this.#context.readUnitRegisters({ unitId, reads: [{ offset: EVENTQ_PROD, width: 4 }] })
    await this.#context.writeUnitRegisters({ unitId, writes: [{ offset: EVENTQ_CONS, width: 4, value: values[0] }] })
  }
}

/** An outcome in the capture's words. */
export function answerOf(
  type: Capture['type'],
  outcome: number,
  code: number,
  name: string | undefined,
  address: bigint,
): Answer {
  if (outcome === DmaOutcome.OK) return { address }
  if (outcome === DmaOutcome.FAULT) return { fault: type === 'vtd' ? `0x${code.toString(16)}` : (name ?? `${code}`) }
  return { fault: outcome === DmaOutcome.ABORTED ? 'ABORT' : `outcome ${outcome}` }
}

/** A step of an explained walk in one line. */
export function describeStep(step: {
  readonly structure: string
  readonly address: bigint
  readonly words: BigUint64Array
  readonly fields: readonly { readonly name: string; readonly value: bigint }[]
  readonly verdict: string
}): string {
  const words = [...step.words].map((word) => word.toString(16).padStart(16, '0')).join(' ')
  const where = step.address === 0n ? '' : ` at 0x${step.address.toString(16)}`
  return `${step.structure}${where}${words === '' ? '' : `: ${words}`} -> ${step.verdict}`
}
