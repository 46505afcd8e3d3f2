/**
 * Rights and what is asked of them. Rights are one code for both stages, so that combining them is an AND: three bits
 * for unprivileged accesses, the same three above them for privileged ones, and what else a leaf says about itself.
 */

import { ACCESS } from '../port.js'

/** Rights of a leaf. READ, WRITE and EXECUTE have the numbers of ACCESS. */
export const RIGHT = {
  READ: 1,
  WRITE: 2,
  EXECUTE: 4,
  /** All three, unprivileged. */
  USER: 0b000111,
  /** All three, privileged. */
  PRIVILEGED: 0b111000,
  ALL: 0b111111,
  /** The page is Device memory at stage 2. */
  DEVICE: 1 << 6,
  /** The leaf is for one ASID (nG). */
  NOT_GLOBAL: 1 << 7,
  /** Writable-clean: WRITE is granted to those whose first write marks the entry in memory. */
  CLEAN: 1 << 8,
  /** Everything that a cached entry keeps. */
  KEPT: 0x1ff,
  /** Hardware has yet to set the access flag: not to be cached. */
  UNACCESSED: 1 << 13,
} as const

/** How far the privileged rights stand above the unprivileged ones. */
export const PRIVILEGED_SHIFT = 3

/** What an access asks of a leaf: bits of ACCESS, and these. The walker hands it to the format, for the flags. */
export const ASK = {
  /** Any of the rights is enough, and flags are set for those that are granted. */
  ANY: 1 << 4,
  /** The unit itself reads or writes a CD or a table of stage 1. */
  STRUCTURE: 1 << 5,
} as const

/** WRITE of both privileges. */
export const WRITES = RIGHT.WRITE | (RIGHT.WRITE << PRIVILEGED_SHIFT)

/** What of `ask` happens at a leaf that grants `rights`: all of it or nothing, or the granted part where ANY will do. */
export function happensAt(rights: number, ask: number): number {
  const wanted = ask & RIGHT.USER
  const granted = (rights >>> ((ask & ACCESS.PRIVILEGED) === 0 ? 0 : PRIVILEGED_SHIFT)) & wanted
  return granted === wanted || (ask & ASK.ANY) !== 0 ? granted : 0
}

/** Whether this is the first write to a clean leaf: the entry in memory must be marked before it may happen. */
export function makesDirty(rights: number, ask: number): boolean {
  return (rights & RIGHT.CLEAN) !== 0 && (happensAt(rights, ask) & RIGHT.WRITE) !== 0
}

/** What is granted without a change to memory. */
export function settledRights(rights: number): number {
  return (rights & RIGHT.CLEAN) === 0 ? rights : rights & ~WRITES
}
