/** The door on the default platform: its units' own drivers, and the kernel's self-test unit. */

import { createMachine, DEFAULT_PLATFORM } from '../../server/drivers/machine.js'
import { Door, type Memory, memory, word, words } from './door.js'

/** Devices of the default platform. */
export const ARM = '0000:00:01.0'
export const INTEL = '0000:01:01.0'

/** Where calls have their data. */
export const DATA = 0x2000_0000n

/** No files by path. */
export const files = {
  roots: [],
  map: () => {
    throw new Error('nothing maps a file by its path here')
  },
}

/** A door on real drivers. */
export const platformDoor = (): Door =>
  new Door({ machine: createMachine({ platform: DEFAULT_PLATFORM, files, testDevice: true }) as never })

/** HWPT_ALLOC. Answers the id. */
export const newHwpt = (door: Door, values: HwptValues): number =>
  word(door.done(0x3b89, hwpt(values), dataOf(values)), 16)

/** The same, refused. */
export const noHwpt = (door: Door, values: HwptValues): string => door.errno(0x3b89, hwpt(values), dataOf(values))

/** Members of HWPT_ALLOC that are not 0. */
export interface HwptValues {
  readonly flags?: number
  readonly dev: number
  readonly pt: number
  readonly type?: number
  readonly data?: Uint8Array
  /** Absent: that of `data`. */
  readonly length?: number
  readonly fault?: number
  readonly reserved?: number
  readonly reserved2?: number
}

/** The struct of HWPT_ALLOC, whole. */
export function hwpt(values: HwptValues): Uint8Array {
  const { flags = 0, dev, pt, type = 0, data, length = data?.length ?? 0, fault = 0, reserved = 0 } = values
  const address = data === undefined ? 0 : Number(DATA)
  return words(48, flags, dev, pt, 0, reserved, type, length, address, 0, fault, values.reserved2 ?? 0)
}

const dataOf = ({ data }: HwptValues): readonly Memory[] => (data === undefined ? [] : [memory(DATA, data)])
