/**
 * StreamWorlds: the translation regimes that a stream can belong to. Each has TLB entries of its own, and the tag space
 * says whose they are: a VMID for NS-EL1, and one number beyond all VMIDs for each world that has none.
 * [SMMU 3.17 TLB tagging, VMIDs, ASIDs and StreamWorlds] [SMMU 5.2 STRW]
 */

/** VMIDs have 16 bits. */
const VMIDS = 2 ** 16

/** Tag spaces of the worlds without VMIDs. */
export const SPACE = {
  /** NS-EL2: one range of addresses, no ASIDs. */
  EL2: VMIDS,
  /** NS-EL2-E2H: two ranges and ASIDs, as in NS-EL1. */
  EL2_E2H: VMIDS + 1,
} as const

/** Whether a tag space is a VMID's, and so of the world NS-EL1. */
export const isVmid = (space: number): boolean => space < VMIDS

/** The StreamWorld of a tag space. */
export function worldName(space: number): string {
  if (isVmid(space)) return 'NS-EL1'
  return space === SPACE.EL2 ? 'NS-EL2' : 'NS-EL2-E2H'
}
