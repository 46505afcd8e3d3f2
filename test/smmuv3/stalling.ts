/** Streams that stall, and the commands that answer them. */

import { type IdOverrides, idRegisters } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields } from './bench.js'

export const SID = 2
/** A second stream with the same tables. */
export const OTHER = 5
export const VA = 0x123456789abcn
export const PAGE = VA & ~0xfffn
export const PA = 0x80000000n

type Options = ConstructorParameters<typeof Bench>[0]
export type CdFields = Parameters<Bench['cd']>[1]
export type SteFields = Parameters<Bench['ste']>[1]

/** ID registers of the default unit with another IDR0.STALL_MODEL and IDR5.STALL_MAX. */
export function stalls(most: number, model = 0): IdOverrides {
  const { IDR0, IDR5 } = idRegisters()
  return { IDR0: ((IDR0 & ~(3 << 24)) | (model << 24)) >>> 0, IDR5: (IDR5 | (most << 16)) >>> 0 }
}

/** Two streams on stage 1 that stall, with nothing mapped. */
export function stalling(
  options: Options = {},
  cd: CdFields = {},
  ste: SteFields = {},
): { bench: Bench; root: number; cd: number } {
  const bench = new Bench({ id: stalls(64), ...options })
  const root = bench.alloc()
  const at = bench.alloc()
  bench.cd(at, { ...contextFields(1, root), S: 1, ...cd })
  for (const sid of [SID, OTHER]) bench.ste(sid, { V: 1, Config: 0b101, S1ContextPtr: at, ...ste })
  return { bench, root, cd: at }
}

/** Ac, Ab, and neither. */
export const RETRY = 0x1000n
export const ABORT = 0x2000n
export const RAZ_WI = 0n

/** CMD_RESUME. */
export const resume = (how: bigint, stag: bigint, sid = SID): [bigint, bigint] => [
  (BigInt(sid) << 32n) | 0x44n | how,
  stag,
]

/** CMD_STALL_TERM. */
export const stallTerm = (sid: number): [bigint, bigint] => [(BigInt(sid) << 32n) | 0x45n, 0n]

/** Takes the waiting records and answers their STAGs. */
export const stags = (bench: Bench): bigint[] => bench.events().map(([, dw1]) => dw1 & 0xffffn)
