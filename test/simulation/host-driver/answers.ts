/** How a DMA ends, as one number: a physical address, or less than zero. */

/** Blocked, and nothing is recorded. */
export const ABORT = -256

/** Blocked with C_BAD_CD or C_BAD_SUBSTREAMID: a PASID without a CD, whether there is a table for it or not. */
export const NO_CD = -257

/** The entry of the stream is not there yet: C_BAD_STREAMID, or an abort. */
export const NO_STREAM = -258

/**
 * The parent does not map a guest's tables: F_TRANSLATION, or what the unit knows of the CD without reading it, which no
 * invalidation of stage 2 takes away. [SMMU 3.21.2 Configuration structures]
 */
export const GONE = -260

/** Not among the ends of an ordinary DMA otherwise. */
export const MADE = { stall: -259 } as const

/** Events, negated. [SMMU 7.3 Event records] */
export const SAYS = {
  C_BAD_STREAMID: -0x02,
  C_BAD_STE: -0x04,
  F_STREAM_DISABLED: -0x06,
  C_BAD_SUBSTREAMID: -0x08,
  C_BAD_CD: -0x0a,
  F_TRANSLATION: -0x10,
  F_ADDR_SIZE: -0x11,
  F_PERMISSION: -0x13,
} as const

const NAMES = new Map<number, string>([
  ...Object.entries(SAYS).map(([name, code]): [number, string] => [code, name]),
  [ABORT, 'abort'],
  [NO_CD, 'C_BAD_CD or C_BAD_SUBSTREAMID'],
  [NO_STREAM, 'C_BAD_STREAMID or abort'],
  [GONE, 'F_TRANSLATION, C_BAD_CD or C_BAD_SUBSTREAMID'],
  [MADE.stall, 'stall'],
])

/** An end in words. */
export const textOf = (code: number): string =>
  code >= 0 ? `0x${code.toString(16)}` : (NAMES.get(code) ?? `event 0x${(-code).toString(16)}`)

/** Whether what was answered is what was expected. */
export function fits(answer: number, expected: number): boolean {
  if (answer === expected) return true
  if (expected === GONE && answer === SAYS.F_TRANSLATION) return true
  if (expected === NO_CD || expected === GONE) return answer === SAYS.C_BAD_CD || answer === SAYS.C_BAD_SUBSTREAMID
  return expected === NO_STREAM && (answer === SAYS.C_BAD_STREAMID || answer === ABORT)
}
