/** The machine's memory, and where the generator puts what into it. */

import { Ram } from '../ram.js'

export const RAM_BYTES = 64 << 20

/** Below it stand a PC's old devices, which no walk and no DMA of ours may touch. */
export const RAM_BASE = 1 << 20

/** What stands where. Regions that hold tables are never the target of a write. */
export const PLACE = {
  QUEUE: 0x200000,
  STATUS: 0x20c000,
  ROOTS: 0x210000,
  CONTEXTS: 0x220000,
  PASIDS: 0x300000,
  TABLES: 0x400000,
  DATA: 0x2000000,
  END: RAM_BYTES,
} as const

/** Where devices may stand: from the window of configuration space on, and the 4 GiB mark ends it. */
const DEVICES = 0xb0000000
const DEVICES_END = 2 ** 32

/** An address that belongs to a device, or may. */
export const isDevice = (address: number): boolean =>
  address < RAM_BASE || (address >= DEVICES && address < DEVICES_END)

/** Messages of interrupts. [VTD 3.15 Handling Requests to Interrupt Address Range] */
export const isInterrupt = (address: number): boolean => address >= 0xfee00000 && address < 0xfef00000

/** 64 MiB from 0, of which the first is not used. */
export class VtdRam extends Ram {
  constructor() {
    super(0, RAM_BYTES)
  }

  override has(address: number): boolean {
    return address >= RAM_BASE && super.has(address)
  }
}
