/** Makes one forgotten invalidation visible: the same DMA, as the cache answers it and as the tables stand. */

import type { ContextClient } from '../node/index.js'
import type { CapturedRow } from './capture/folder.js'
import type { UserReplay } from './capture/user-replay.js'

/** What was seen. Addresses are the guest's own. */
export interface Forgotten {
  readonly iova: bigint
  /** Where the changed table entry stands. */
  readonly entryAddress: bigint
  readonly oldEntry: bigint
  readonly newEntry: bigint
  /** What the hardware used after the change, from its cache. */
  readonly cached: bigint
  /** What the tables said at that moment. */
  readonly fresh: bigint
  /** The invalidation that was missing, spelled out. */
  readonly command: string
  /** Where the DMA went after it. */
  readonly after: bigint
}

/** Bits of a leaf entry of 4 KiB that hold the address, in both architectures. */
const FRAME_MASK = 0x0000_ffff_ffff_f000n

/**
 * Changes a leaf of an attached stream behind the hardware's back, looks, invalidates, looks again, and puts
 * everything back. Undefined when no row leads through a page of 4 KiB.
 */
export async function forgetInvalidation(
  context: ContextClient,
  replay: UserReplay,
  rows: readonly CapturedRow[],
): Promise<Forgotten | undefined> {
  const row = rows.find(({ pa, access }) => pa !== undefined && access === 'r')
  if (row?.pa === undefined) return undefined
  await replay.translate([row])
  const entry = await leafOf(context, replay, row)
  if (entry === undefined) return undefined
  const newEntry = (entry.value & ~FRAME_MASK) | ((entry.value & FRAME_MASK) ^ 0x1000n)
  await storeEntry(context, entry.location, newEntry)
  const cached = await addressOf(replay, row)
  const fresh = await freshAddress(context, replay, row)
  const command = await replay.invalidate(row.iova)
  const after = await addressOf(replay, row)
  await storeEntry(context, entry.location, entry.value)
  await replay.invalidate(row.iova)
  const entryAddress = replay.guestAddressOf(entry.location)
  return { iova: row.iova, entryAddress, oldEntry: entry.value, newEntry, cached, fresh, command, after }
}

interface Place {
  readonly regionId: number
  readonly offset: bigint
}

/** The last table entry of the guest's that the walk of this row reads. */
async function leafOf(
  context: ContextClient,
  replay: UserReplay,
  row: CapturedRow,
): Promise<{ readonly location: Place; readonly value: bigint } | undefined> {
  const { explanation } = await context.explain(replay.walkOf(row))
  const steps = (explanation?.steps ?? []).filter(({ location, words }) => location !== undefined && words.length === 1)
  const last = steps.at(-1)
  if (last?.location === undefined || explanation?.fresh?.pageSizeLog2 !== 12) return undefined
  return { location: last.location, value: last.words[0] }
}

async function storeEntry(context: ContextClient, { regionId, offset }: Place, value: bigint): Promise<void> {
  const data = new Uint8Array(8)
  new DataView(data.buffer).setBigUint64(0, value, true)
  await context.writeMemory({ patches: [{ regionId, offset, data }] })
}

async function addressOf(replay: UserReplay, row: CapturedRow): Promise<bigint> {
  const { answers } = await replay.translate([row])
  if (answers[0].address === undefined) throw new Error(`the demo's DMA ended as ${answers[0].fault}`)
  return answers[0].address
}

async function freshAddress(context: ContextClient, replay: UserReplay, row: CapturedRow): Promise<bigint> {
  const { explanation } = await context.explain(replay.walkOf(row))
  if (explanation?.fresh?.location === undefined) throw new Error('the changed entry leads out of the guest RAM')
  return replay.guestAddressOf(explanation.fresh.location)
}
