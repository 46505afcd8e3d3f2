/** Methods of the contract that core does not answer yet, each with the reason that its callers read. */

const NO_QUEUES = 'this daemon has no page-request and event queues yet'
const NO_ATS = 'this daemon has no device TLBs and no page requests yet'
const NO_HANDLES = 'this daemon has no handles yet; use the typed methods'
const NO_CHECKER = 'this daemon keeps no record of stale translations yet; compare Translate with Explain'
const NO_WINDOWS = 'reserved windows are not offered yet; use a vIOMMU and an STE'
const NO_DIRTY = 'core does not read dirty bits yet'
const FIXED_PLATFORM = 'the platform is fixed at the start; give it with --platform'

/** Why each of them is not offered. */
export const NOT_OFFERED = {
  AddDevice: FIXED_PLATFORM,
  RemoveDevice: FIXED_PLATFORM,
  InjectFault: 'this daemon cannot make things fail on purpose yet',
  RequestTranslations: NO_ATS,
  RequestPages: NO_ATS,
  PollInvalidations: NO_ATS,
  CompleteInvalidations: NO_ATS,
  GetCacheStats: NO_CHECKER,
  SetCachePolicy: 'the caches are set up with the platform; give it with --platform',
  SetOracleMode: NO_CHECKER,
  CheckStale: NO_CHECKER,
  ListStaleTranslations: NO_CHECKER,
  OpenHandle: NO_HANDLES,
  Ioctl: NO_HANDLES,
  ReadHandle: NO_HANDLES,
  WriteHandle: NO_HANDLES,
  PollHandle: NO_HANDLES,
  MapHandle: NO_HANDLES,
  CloseHandle: NO_HANDLES,
  IoasChangeProcess: 'memory is accounted to contexts here, so there is no process to move it to',
  SetDirtyTracking: NO_DIRTY,
  GetDirtyBitmap: NO_DIRTY,
  CreateFaultQueue: NO_QUEUES,
  PollFaults: NO_QUEUES,
  RespondFaults: NO_QUEUES,
  CreateVeventq: NO_QUEUES,
  PollEvents: NO_QUEUES,
  CreateHwQueue: 'no unit of this daemon has queues that hardware reads from guest memory',
  CreateWindow: NO_WINDOWS,
  GrowWindow: NO_WINDOWS,
} as const satisfies Readonly<Record<string, string>>

/** What of an offered method is not, for the status table. */
export const PARTLY_OFFERED = {
  AwaitDma: 'nothing is ever pending: no unit stalls or makes page requests yet',
  CreateMemoryRegion: 'no descriptors: there is no side channel yet',
  CreateUserDomain: 'no windows, no fault queues',
  CreatePagingDomain: 'no fault queues',
  CreateUnit: 'the cache policy HARDWARE only',
  Explain: 'what the caches would say is not told; compare with Translate',
  ExplainUnit: 'what the caches would say is not told; compare with TranslateUnit',
  IoasMapFile: 'regions only: there is no side channel yet',
  SetOption: 'RLIMIT_MODE cannot be set',
  Translate: 'no ATC',
  DmaRead: 'no ATC',
  DmaWrite: 'no ATC',
} as const satisfies Readonly<Record<string, string>>
