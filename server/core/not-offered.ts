/**
 * Methods of the contract that core does not answer, each with the reason that its callers read: a fact about this
 * daemon, and a way out where there is one.
 */

/** Why devices of the platform have no ATS; streams of raw units may. */
export const NO_DEVICE_TLBS = 'no device of the platform has a TLB: IDR0.ATS and ECAP.DT are 0; use Translate'

/** Why devices of the platform ask for no pages; streams of raw units may. */
export const NO_PAGE_REQUESTS =
  'no device of the platform makes page requests: IDR0.PRI and ECAP.PRS are 0; map the pages before the DMA'

const NO_FAULTS =
  'no device of the platform waits for pages: IDR0.PRI, STALL_MODEL and ECAP.PRS deny it; the reply of the DMA tells its fault'
const NO_CHECKER = 'cached translations are not checked against the tables; compare Translate with Explain'
const NO_WINDOWS = 'no range of a parent is set aside for the daemon; make a user domain on a vIOMMU from an STE'
const FIXED_PLATFORM = 'the platform is fixed at the start; give it with --platform'

/** Why each of them is not offered. */
export const NOT_OFFERED = {
  AddDevice: FIXED_PLATFORM,
  RemoveDevice: FIXED_PLATFORM,
  InjectFault: 'nothing fails on request; make a bad entry in tables of your own, or unmap what they need',
  GetCacheStats: 'the caches’ counters are on the diagnostics listener: /metrics',
  SetCachePolicy: 'a unit’s cache is set up with the platform; give it with --platform',
  SetOracleMode: NO_CHECKER,
  CheckStale: NO_CHECKER,
  ListStaleTranslations: NO_CHECKER,
  CreateWindow: NO_WINDOWS,
  GrowWindow: NO_WINDOWS,
} as const satisfies Readonly<Record<string, string>>

/** What of an offered method is not, for the status table. */
export const PARTLY_OFFERED = {
  RequestTranslations: NO_DEVICE_TLBS,
  RequestPages: NO_PAGE_REQUESTS,
  PollInvalidations: NO_DEVICE_TLBS,
  CompleteInvalidations: NO_DEVICE_TLBS,
  AwaitDma: 'no device of the platform leaves anything pending: STALL_MODEL denies stalls, IDR0.PRI and ECAP.PRS pages',
  CreateMemoryRegion: 'no descriptors, for which there is no side channel; name a file by its path',
  CreateUserDomain: 'no windows; make a user domain on a vIOMMU from an STE',
  PollFaults: NO_FAULTS,
  PollEvents: 'the host drivers hand no events to guests; the reply of the DMA tells its fault',
  CreateHwQueue: 'no platform unit reads queues of a guest by itself; give a guest’s commands to InvalidateIotlb',
  IoasMapFile: 'no descriptors, for which there is no side channel; name a region',
  Translate: 'no ATC: untranslated addresses only',
  DmaRead: 'no ATC: untranslated addresses only',
  DmaWrite: 'no ATC: untranslated addresses only',
} as const satisfies Readonly<Record<string, string>>
