/**
 * How a captured unit is brought back to the state in which it was stopped: which ID registers it is made with, and
 * which registers are then written, in which order.
 */

import { type Capture, CaptureError } from './folder.js'

/** One register write. */
export interface Write {
  readonly offset: number
  readonly width: 4 | 8
  readonly value: bigint
}

/** Names of the ID registers, which a unit is made with. */
const ID_REGISTERS: Readonly<Record<Capture['type'], readonly string[]>> = {
  smmuv3: ['IDR0', 'IDR1', 'IDR3', 'IDR5', 'IIDR', 'AIDR'],
  vtd: ['VER', 'CAP', 'ECAP'],
}

/** The ID registers of the captured unit. */
export function idRegistersOf(capture: Capture): { name: string; value: bigint }[] {
  return ID_REGISTERS[capture.type].flatMap((name) => {
    const value = capture.registers.get(name)
    return value === undefined ? [] : [{ name, value }]
  })
}

/** The writes that bring the unit into the captured state, in order. Its command queue stands empty. */
export function programOf(capture: Capture): Write[] {
  return capture.type === 'smmuv3' ? programSmmu(capture) : programVtd(capture)
}

const SMMU_CR0 = 0x20
const SMMU_CR0_SMMUEN = 1n
const SMMU_CR0_EVENTQEN = 1n << 2n

/** Everything but CR0 first; CR0 last, without a command queue, which nothing here needs. [SMMU 6.3 Register formats] */
function programSmmu(capture: Capture): Write[] {
  const value = valueIn(capture)
  const cr0 = value('CR0')
  return [
    { offset: 0x28, width: 4, value: value('CR1') },
    { offset: 0x2c, width: 4, value: value('CR2') },
    { offset: 0x80, width: 8, value: value('STRTAB_BASE') },
    { offset: 0x88, width: 4, value: value('STRTAB_BASE_CFG') },
    { offset: 0xa0, width: 8, value: value('EVENTQ_BASE') },
    { offset: EVENTQ_PROD, width: 4, value: value('EVENTQ_PROD') },
    { offset: EVENTQ_CONS, width: 4, value: value('EVENTQ_CONS') },
    { offset: SMMU_CR0, width: 4, value: cr0 & SMMU_CR0_EVENTQEN },
    { offset: SMMU_CR0, width: 4, value: cr0 & (SMMU_CR0_EVENTQEN | SMMU_CR0_SMMUEN) },
  ]
}

/** [SMMU 6.3.95 SMMU_EVENTQ_PROD], on page 1. */
export const EVENTQ_PROD = 0x100a8

/** [SMMU 6.3.96 SMMU_EVENTQ_CONS], on page 1. */
export const EVENTQ_CONS = 0x100ac

const VTD_GCMD = 0x18
const VTD_GCMD_TE = 1n << 31n
const VTD_GCMD_SRTP = 1n << 30n

/** Root table, then SRTP, then TE, each its own write. [VTD 11.4.4.1 Global Command Register] */
function programVtd(capture: Capture): Write[] {
  const value = valueIn(capture)
  const writes: Write[] = [
    { offset: 0x20, width: 8, value: value('RTADDR') },
    { offset: VTD_GCMD, width: 4, value: VTD_GCMD_SRTP },
  ]
  if ((value('GSTS') & VTD_GCMD_TE) !== 0n) writes.push({ offset: VTD_GCMD, width: 4, value: VTD_GCMD_TE })
  return writes
}

function valueIn(capture: Capture): (name: string) => bigint {
  return (name) => {
    const value = capture.registers.get(name)
    if (value === undefined) throw new CaptureError(`${capture.directory}/capture.json: no register ${name}`)
    return value
  }
}
