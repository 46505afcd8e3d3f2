/** The machine that a recording was made on, as a platform of the daemon. */

import { qemuRegisters, type Registers } from './qemu.js'
import type { RecordedCall, Recording } from './recording.js'
import { COMMAND, wordAt } from './uapi.js'

/** What the private daemon is started with. */
export interface RecordedMachine {
  /** A platform, as `--platform` reads it. */
  readonly platform: object
  /** The same with registers of QEMU's, for when the daemon's units do not do all that the recorded ones offer. */
  readonly plain?: object
  /** Further flags of the daemon. */
  readonly args: readonly string[]
  /** The platform's device by the descriptor of its VFIO file. */
  readonly devices: ReadonlyMap<number, string>
  /** A device that is never bound: its file stands for descriptors that are open and are nothing that iommufd knows. */
  readonly stranger: string
}

/** Descriptors of the recorder. */
export const FD = { IOMMU: 100, SECOND_IOMMU: 103, MEMFD: 110 } as const

const OTHER_FILES: readonly number[] = Object.values(FD)

/** VFIO files of the recorder. */
const DEVICE_FILES = [101, 102]
const STRANGER = '0000:00:1f.0'
const UNIT = 'recorded'

/** The word of a kernel that takes each device of its SMMUv3 for coherent. */
const FORCED_CANWBS = /canwbs\(\) forced true/

/** The kernel's GET_HW_INFO answers: bytes of the data, and where the registers stand. */
const INFO_BYTES = { vtd: 24, smmuv3: 40 } as const
const SMMU_REGISTERS = ['IDR0', 'IDR1', 'IDR2', 'IDR3', 'IDR4', 'IDR5', 'IIDR', 'AIDR']

/**
 * Builds it: the unit from its registers, or by the first line where the recording never tells them whole; the devices
 * from what the kernel said of them.
 */
export function machineOf(recording: Recording): RecordedMachine {
  const { unit, kernel } = recording
  const files = deviceFiles(recording)
  const common = { devices: files, stranger: STRANGER }
  if (unit === 'mock') {
    // The self-test's unit is the daemon's own; what stands beside it is of no matter.
    const platform = { units: [{ name: UNIT, type: 'vtd' }], devices: [{ name: STRANGER, iommu: UNIT }] }
    return { ...common, devices: new Map(), platform, args: ['--test-device'] }
  }
  const usual = qemuRegisters(unit, recording.iommu)
  const registers = registersOf(recording, unit) ?? usual
  // What the registers offer beyond the emulated unit (VT-d: interrupt remapping) is told all the same.
  const unitOf = (emulated: Registers) => [{ name: UNIT, type: unit, registers: emulated, reported: registers }]
  const canwbs = unit === 'smmuv3' && FORCED_CANWBS.test(kernel)
  const facts = deviceFacts(recording)
  const devices = [...files].map(([fd, name]) => {
    const { ats, pasidBits } = facts.get(fd) ?? { ats: false, pasidBits: 0 }
    return { name, iommu: UNIT, pasidBits, ats, canwbs }
  })
  const all = [...devices, { name: STRANGER, iommu: UNIT, canwbs }]
  const platformOf = (emulated: Registers): object => ({ units: unitOf(emulated), devices: all })
  return { ...common, platform: platformOf(registers), plain: platformOf(usual), args: [] }
}

/** Devices by the files that are opened; each device has a group of its own. */
function deviceFiles({ calls }: Recording): ReadonlyMap<number, string> {
  const opened = calls.filter(({ call, fd }) => call === 'open' && !OTHER_FILES.includes(fd)).map(({ fd }) => fd)
  const files = [...new Set([...DEVICE_FILES, ...opened])].sort((a, b) => a - b)
  return new Map(files.map((fd, at) => [fd, `0000:${(at >> 4).toString(16).padStart(2, '0')}:${slotOf(at)}.0`]))
}

/** Slots from 3 on, as QEMU gives them. */
const slotOf = (at: number): string => ((at & 15) + 3).toString(16).padStart(2, '0')

/** The ID registers, from the first GET_HW_INFO answer that was given room for all of them. */
function registersOf({ calls }: Recording, unit: 'vtd' | 'smmuv3'): Registers | undefined {
  const bytes = INFO_BYTES[unit]
  const whole = calls.find(
    ({ command, errno, memory }) =>
      command === COMMAND.IOMMU_GET_HW_INFO && errno === 0 && (memory?.after.length ?? 0) >= bytes,
  )
  if (whole?.memory === undefined) return undefined
  const { after } = whole.memory
  const view = new DataView(after.buffer, after.byteOffset)
  const hex = (value: number | bigint): string => `0x${value.toString(16)}`
  if (unit === 'vtd') return { CAP: hex(view.getBigUint64(8, true)), ECAP: hex(view.getBigUint64(16, true)) }
  return Object.fromEntries(SMMU_REGISTERS.map((name, at) => [name, hex(view.getUint32(8 + at * 4, true))]))
}

interface DeviceFacts {
  readonly ats: boolean
  readonly pasidBits: number
}

const INFO_DEVICE = 8
const INFO_PASID_LG2 = 28
const INFO_CAPABILITIES = 32
const ATS_NOT_SUPPORTED = 8
const OUT_DEVICE_ID = 12

/** What GET_HW_INFO said of the devices behind the VFIO files, by descriptor. */
function deviceFacts({ calls }: Recording): ReadonlyMap<number, DeviceFacts> {
  const facts = new Map<number, DeviceFacts>()
  /** Descriptors by the id that the device has now; ids of the second context are no matter. */
  const bound = new Map<number, number>()
  for (const line of calls) {
    if (line.call === 'close') forget(bound, line.fd)
    if (line.errno !== 0) continue
    if (line.command === COMMAND.VFIO_DEVICE_BIND_IOMMUFD && wordAt(line.input, 8) === FD.IOMMU) {
      bound.set(wordAt(line.output, OUT_DEVICE_ID) ?? 0, line.fd)
    }
    if (line.command !== COMMAND.IOMMU_GET_HW_INFO || line.fd !== FD.IOMMU) continue
    const fd = bound.get(wordAt(line.input, INFO_DEVICE) ?? 0)
    // A struct that claims to be shorter has no room for them.
    const length = Math.min(line.output.length, wordAt(line.input, 0) ?? 0)
    if (fd !== undefined && length >= INFO_CAPABILITIES + 4) facts.set(fd, factsIn(line))
  }
  return facts
}

function factsIn({ output }: RecordedCall): DeviceFacts {
  const capabilities = wordAt(output, INFO_CAPABILITIES) ?? 0
  return { ats: (capabilities & ATS_NOT_SUPPORTED) === 0, pasidBits: output[INFO_PASID_LG2] }
}

function forget(bound: Map<number, number>, fd: number): void {
  for (const [id, file] of bound) if (file === fd) bound.delete(id)
}
