/** The machines on which the recordings were made, as far as the model's units can be them. */

import type { Machine } from '../../server/core/machine.js'
import { createMachine } from '../../server/drivers/machine.js'
import { bytesOf, type Transcript } from './transcript.js'
import type { HwInfoExcuse } from './vfio-calls.js'

/** A machine, which device each VFIO file is, and what of its registers differs from the recorded one's. */
export interface RecordedMachine {
  readonly machine: Machine
  readonly devices: ReadonlyMap<number, string>
  readonly excuse: HwInfoExcuse
}

const DEVICES: ReadonlyMap<number, string> = new Map([
  [101, '0000:00:03.0'],
  [102, '0000:00:04.0'],
])

/**
 * IDR3.FWB. The recorded kernel was made to take its devices for coherent (CANWBS), since the recorded unit has no
 * forced write-back and the kernel nests on one of the two. Here the unit has it.
 */
const IDR3_FWB = 1 << 8
/** The low half of ECAP: IR, EIM and MHMV are interrupt remapping's, which the model masks. */
const ECAP_INTERRUPT_REMAPPING = 0x00f0_0018

/** Builds it from the first whole GET_HW_INFO answer. Its devices have no PASIDs, ATS or page requests. */
export function machineOf(transcript: Transcript): RecordedMachine {
  const isArm = transcript.head.kind === 'arm'
  const info = new DataView(hwInfoOf(transcript, isArm ? 40 : 24).buffer)
  const registers: Record<string, bigint> = isArm
    ? Object.fromEntries(SMMU_REGISTERS.map((name, at) => [name, BigInt(info.getUint32(8 + at * 4, true))]))
    : { CAP: info.getBigUint64(8, true), ECAP: info.getBigUint64(16, true) }
  if (isArm) registers['IDR3'] |= BigInt(IDR3_FWB)
  const machine = createMachine({
    platform: {
      units: [{ name: 'unit', type: isArm ? 'smmuv3' : 'vtd', registers }],
      devices: [...DEVICES.values()].map((name) => ({ name, iommu: 'unit', pasidBits: 0, ats: false, pri: false })),
    },
    files: {
      roots: [],
      map: () => {
        throw new Error('no recording maps a file by its path')
      },
    },
  })
  const ignored: Record<number, number> = isArm ? { 5: IDR3_FWB } : { 4: ECAP_INTERRUPT_REMAPPING }
  return { machine, devices: DEVICES, excuse: { ignored } }
}

const SMMU_REGISTERS = ['IDR0', 'IDR1', 'IDR2', 'IDR3', 'IDR4', 'IDR5', 'IIDR', 'AIDR']

function hwInfoOf({ name, lines }: Transcript, bytes: number): Uint8Array {
  for (const { call, mem_out, errno } of lines) {
    if (call !== 'GET_HW_INFO' || errno !== 0 || mem_out === undefined) continue
    const data = bytesOf(mem_out)
    if (data.length >= bytes) return data
  }
  throw new Error(`${name} has no whole GET_HW_INFO answer`)
}
