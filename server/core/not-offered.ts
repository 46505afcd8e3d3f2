/**
 * Methods of the contract that core does not answer, each with the reason that its callers read: a fact about this
 * daemon, and a way out where there is one.
 */

/** Why a device of the platform has no ATS. */
export const NO_DEVICE_TLBS = 'the platform gives it none, or its unit does not (IDR0.ATS, ECAP.DT); use Translate'

/** Why a device of the platform asks for no pages. */
export const NO_PAGE_REQUESTS =
  'the platform gives it none, or its unit does not (IDR0.PRI, ECAP.PRS); map the pages before the DMA'

const FIXED_PLATFORM = 'the platform is fixed at the start; give it with --platform'

/** Why each of them is not offered. */
export const NOT_OFFERED = {
  AddDevice: FIXED_PLATFORM,
  RemoveDevice: FIXED_PLATFORM,
  InjectFault: 'nothing fails on request; make a bad entry in tables of your own, or unmap what they need',
} as const satisfies Readonly<Record<string, string>>

/** What of an offered method is not, for the status table. */
export const PARTLY_OFFERED = {
  CreateMemoryRegion: 'no descriptors, for which there is no side channel; name a file by its path',
  CreateHwQueue: 'no platform unit reads queues of a guest by itself; give a guest’s commands to InvalidateIotlb',
  IoasMapFile: 'no descriptors, for which there is no side channel; name a region',
} as const satisfies Readonly<Record<string, string>>
