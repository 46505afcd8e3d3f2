/**
 * ID registers of QEMU's units by their options: what a recording goes by that never asks a device for all of them, and
 * what is emulated where the recorded registers offer something that this project's units do not do.
 */

import type { UnitKind } from './recording.js'

/** Registers by name, in hex. */
export type Registers = Readonly<Record<string, string>>

const hex = (value: number | bigint): string => `0x${value.toString(16)}`

/** Whether an option is switched on in a device's text: `scalable-mode=on`. */
const isOn = (options: string, ...names: readonly string[]): boolean =>
  names.some((name) => new RegExp(`\\b${name}=(on|true|yes|1)\\b`).test(options))

/** Registers of a unit with these options. */
export const qemuRegisters = (unit: Exclude<UnitKind, 'mock'>, options: string): Registers =>
  unit === 'vtd' ? intelIommu(options) : armSmmuv3(options)

/** CAP with everything but widths: fault records, domain-ids, large pages, PSI. */
const CAP = 0x80d2008c22200006n
const FS1GP = 1n << 56n

/** ECAP: QI, pass-through, the IOTLB's registers at 0xf00; SC (snoop-control); and what scalable mode brings. */
const ECAP = 0xf42n
/** With the largest mask of interrupts, MHMV. */
const INTERRUPT_REMAPPING = 0xf00008n
const EXTENDED_INTERRUPT_MODE = 16n
const SCALABLE = 1n << 43n
const SECOND_STAGE = (1n << 46n) | (1n << 31n)
const FIRST_STAGE = 1n << 47n
const PASID = 1n << 40n

/** QEMU's intel-iommu. */
function intelIommu(options: string): Registers {
  const bits = BigInt(/\baw-bits=(\d+)/.exec(options)?.[1] ?? '48')
  const sagaw = { 39: 2n, 48: 6n, 57: 14n }[Number(bits)] ?? 6n
  const isScalable = isOn(options, 'scalable-mode', 'x-scalable-mode')
  const hasFirst = isScalable && isOn(options, 'fsts', 'flts', 'x-flts')
  const pasidBits = BigInt(/\bpasid-bits=(\d+)/.exec(options)?.[1] ?? '0')
  const cap = CAP | (sagaw << 8n) | ((bits - 1n) << 16n) | (hasFirst ? FS1GP : 0n)
  let ecap = ECAP
  if (isOn(options, 'intremap')) ecap |= INTERRUPT_REMAPPING
  if (isOn(options, 'eim')) ecap |= EXTENDED_INTERRUPT_MODE
  if (isOn(options, 'snoop-control')) ecap |= 1n << 7n
  if (isScalable) ecap |= SCALABLE | (hasFirst ? FIRST_STAGE : SECOND_STAGE)
  if (isScalable && pasidBits > 0n) ecap |= PASID | ((pasidBits - 1n) << 35n)
  return { CAP: hex(cap), ECAP: hex(ecap) }
}

/** IDR0 without stages: COHACC, AArch64 tables, ASID16, VMID16, both of a two-level table and little-endian walks. */
const IDR0 = 0xd441018

/** QEMU's SMMUv3; its machine has both stages unless it is told otherwise. */
function armSmmuv3(options: string): Registers {
  const stage = /\bstage=(\w+)/.exec(options)?.[1] ?? 'nested'
  const stages = { 1: 2, 2: 1 }[stage] ?? 3
  const rest = { IDR2: '0x0', IDR4: '0x0', IIDR: '0x0', AIDR: '0x1' }
  return { IDR0: hex(IDR0 | stages), IDR1: '0x2730010', IDR3: '0x1414', IDR5: '0x74', ...rest }
}
