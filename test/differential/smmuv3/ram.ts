/** The machine's memory, and where the generator puts what into it. */

import { Ram } from '../ram.js'

/** Below it stand the machine's devices, which no walk and no DMA of ours may touch. */
export const RAM_BASE = 0x40000000
export const RAM_BYTES = 64 << 20
const RAM_END = RAM_BASE + RAM_BYTES

/** What stands where. Regions that hold tables are never the target of a write. */
export const PLACE = {
  COMMANDS: RAM_BASE + 0x10000,
  EVENTS: RAM_BASE + 0x14000,
  /** Aligned for 2^12 STEs. */
  STREAMS: RAM_BASE + 0x40000,
  STREAM_LEAVES: RAM_BASE + 0x80000,
  CONTEXTS: RAM_BASE + 0xc0000,
  STAGE_1: RAM_BASE + 0x400000,
  STAGE_2: RAM_BASE + 0xc00000,
  DATA: RAM_BASE + 0x1800000,
  END: RAM_END,
} as const

/** 64 MiB where the machine has them. */
export class SmmuRam extends Ram {
  constructor() {
    super(RAM_BASE, RAM_BYTES)
  }
}
