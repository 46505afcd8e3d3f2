/** Which commands the queue refuses with CERROR_ILL. [SMMU 7.1 Command queue errors] */

import {
  CMD_ATC_INV,
  CMD_PRI_RESP,
  CMD_SYNC,
  CMD_TLBI_NH_VA,
  COMMAND,
  OPCODE,
  RESPONSE_RESERVED,
  SIZE_ALL,
  SYNC_CS,
} from './command-records.js'
import { type Features, STALL_MODEL } from './features.js'

const { Opcode, SSec } = COMMAND
const { NUM, SCALE, TTL, TG } = CMD_TLBI_NH_VA

/** Scales without IDR5.DS: bit 25 is reserved then. */
const SCALES = 32

/** Larger scales than this count as it. [SMMU 4.4.1.1 Range-based] */
const LAST_SCALE = 39

/** TG of 16 KiB granules, whose only level 1 leaves are those of DS. */
const TG_16K = 2

/** Opcodes of commands that name a stream, and so have SSec; in others the bit is reserved, and ignored. */
const BY_STREAM: ReadonlySet<number> = new Set([
  OPCODE.PREFETCH_CONFIG,
  OPCODE.PREFETCH_ADDR,
  OPCODE.CFGI_STE,
  OPCODE.CFGI_STE_RANGE,
  OPCODE.CFGI_CD,
  OPCODE.CFGI_CD_ALL,
  OPCODE.RESUME,
  OPCODE.STALL_TERM,
])

/** Whether the queue answers a command with CERROR_ILL. [SMMU 4.1.3 Command errors] */
export function isIllegal(command: Int32Array, features: Features): boolean {
  const opcode = Opcode.get(command, 0)
  // Secure streams are not this queue's. [SMMU 4.1.6 Common command fields]
  if (BY_STREAM.has(opcode) && SSec.get(command, 0) === 1) return true
  switch (opcode) {
    case OPCODE.PREFETCH_CONFIG:
    case OPCODE.PREFETCH_ADDR:
    case OPCODE.CFGI_STE:
    case OPCODE.CFGI_STE_RANGE:
    case OPCODE.TLBI_NSNH_ALL:
      return false
    case OPCODE.CFGI_CD:
    case OPCODE.CFGI_CD_ALL:
    case OPCODE.TLBI_NH_ALL:
    case OPCODE.TLBI_NH_ASID:
      return !features.stage1
    case OPCODE.TLBI_NH_VA:
    case OPCODE.TLBI_NH_VAA:
      return !features.stage1 || isReservedRange(command, features)
    case OPCODE.TLBI_EL2_ALL:
    case OPCODE.TLBI_EL2_ASID:
      return !features.hyp
    case OPCODE.TLBI_EL2_VA:
    case OPCODE.TLBI_EL2_VAA:
      return !features.hyp || isReservedRange(command, features)
    case OPCODE.TLBI_S12_VMALL:
      return !features.stage2
    case OPCODE.TLBI_S2_IPA:
      return !features.stage2 || isReservedRange(command, features)
    case OPCODE.RESUME:
    case OPCODE.STALL_TERM:
      return features.stallModel === STALL_MODEL.TERMINATE
    case OPCODE.ATC_INV:
      return !features.ats || CMD_ATC_INV.Size.get(command, 0) > SIZE_ALL
    case OPCODE.PRI_RESP:
      return !features.pri || CMD_PRI_RESP.Resp.get(command, 0) === RESPONSE_RESERVED
    case OPCODE.SYNC:
      return CMD_SYNC.CS.get(command, 0) === SYNC_CS.RESERVED
    default:
      // No EL3 or Secure StreamWorlds; and what has no meaning at all.
      return true
  }
}

/** The one range code that says nothing: a granule, and no NUM, SCALE or TTL. [SMMU 4.4.1.1 Range-based] */
function isReservedRange(command: Int32Array, features: Features): boolean {
  if (!features.ril) return false
  const tg = TG.get(command, 0)
  return tg !== 0 && NUM.get(command, 0) === 0 && scaleOf(command, features) === 0 && levelOf(command, features) === 0
}

/** SCALE, which has a sixth bit where IDR5.DS says so. */
export function scaleOf(command: Int32Array, { ds }: Features): number {
  const scale = SCALE.get(command, 0)
  return ds ? Math.min(scale, LAST_SCALE) : scale % SCALES
}

/** TTL, or 0 where it is reserved and so names no level. [SMMU 4.4.1.1 Range-based] */
export function levelOf(command: Int32Array, { ds }: Features): number {
  const ttl = TTL.get(command, 0)
  return ttl === 1 && TG.get(command, 0) === TG_16K && !ds ? 0 : ttl
}
