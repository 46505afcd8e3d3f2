/** Commands of the unit as the guest behind a vIOMMU gives them: with its own name of the device, and without a VMID. */

import type { Invalidation } from '../../../hw-model/port.js'
import {
  CMD_ATC_INV,
  CMD_CFGI_CD,
  CMD_CFGI_CD_ALL,
  CMD_TLBI_NH_ALL,
  CMD_TLBI_NH_ASID,
  CMD_TLBI_NH_VA,
  CMD_TLBI_NH_VAA,
  OPCODE,
} from '../../../hw-model/smmuv3/index.js'
import type { OwnInvalidation, SmmuCommand } from '../../core/driver.js'
import { spell } from '../invalidation-text.js'

/** What a vIOMMU takes. [uAPI struct iommu_viommu_arm_smmuv3_invalidate] */
const RECORDS = {
  TLBI_NH_ALL: CMD_TLBI_NH_ALL,
  TLBI_NH_ASID: CMD_TLBI_NH_ASID,
  TLBI_NH_VA: CMD_TLBI_NH_VA,
  TLBI_NH_VAA: CMD_TLBI_NH_VAA,
  CFGI_CD: CMD_CFGI_CD,
  CFGI_CD_ALL: CMD_CFGI_CD_ALL,
  ATC_INV: CMD_ATC_INV,
} as const

type Name = keyof typeof RECORDS

const isName = (name: string): name is Name => name in RECORDS

/** The same in the guest's words; undefined where one of them is not a guest's to give. */
export function guestCommands(commands: readonly Invalidation[], virtId: bigint): OwnInvalidation | undefined {
  if (commands.length === 0 || !commands.every(({ name }) => isName(name))) return undefined
  const own = commands.map((command) => asGuest(command, virtId))
  return { text: `${spell(own)} on the vIOMMU`, commands: own.map(encode) }
}

/** The VMID is the host's to fill in, and a guest knows the device by a name of its own. */
function asGuest({ name, operands, page }: Invalidation, virtId: bigint): Invalidation {
  const { VMID: _, ...own } = operands
  return { name, operands: 'SID' in own ? { ...own, SID: Number(virtId) } : own, page }
}

function encode({ name, operands, page }: Invalidation): SmmuCommand {
  const record = RECORDS[name as Name]
  const values: Readonly<Record<string, number>> = { Opcode: OPCODE[name as Name], ...operands }
  const words = new Int32Array(record.$.words)
  for (const [field, value] of Object.entries(values)) record.$.fields.get(field)?.set(words, 0, value)
  const [lo, hi] = page ?? [0, 0]
  return { dw0: join(words[0], words[1]), dw1: join(words[2] | lo, words[3] | hi) }
}

const join = (lo: number, hi: number): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
