/** The door of core for the RPC layer: the object model, and a handler for each method it answers. */

import * as ats from './ats-calls.js'
import { awaitDma } from './await-dma.js'
import * as cache from './cache-calls.js'
import { ioasChangeProcess } from './change-process.js'
import * as context from './context-calls.js'
import * as device from './device-calls.js'
import * as dirty from './dirty-calls.js'
import * as dma from './dma-calls.js'
import * as domain from './domain-calls.js'
import * as fault from './fault-calls.js'
import { getHwInfo } from './hw-info-calls.js'
import * as hwQueue from './hw-queue-calls.js'
import { invalidateIotlb } from './invalidate-calls.js'
import * as ioas from './ioas-calls.js'
import * as memory from './memory-calls.js'
import * as option from './option-calls.js'
import * as oracle from './oracle-calls.js'
import * as server from './server-calls.js'
import * as unit from './unit-calls.js'
import * as unitDma from './unit-dma-calls.js'
import * as unitRegister from './unit-register-calls.js'
import * as veventq from './veventq-calls.js'
import * as viommu from './viommu-calls.js'
import * as window from './window-calls.js'

export {
  type Clock,
  Connection,
  type CoreEvent,
  type EndReason,
  type EventSink,
  type Peer,
  type RandomSource,
  type ServerFacts,
} from './ambient.js'
export { Call, type Handler } from './call.js'
export { changeProcess } from './change-process.js'
export { Context, LIFETIME } from './context.js'
export { Core, type CoreOptions } from './core.js'
export { detailOf, type RefusalDetail } from './detail.js'
export { type DirtySink, type DirtySpan, setBits } from './dirty-bits.js'
export { readBitmap, switchTracking } from './dirty-calls.js'
export { DEFAULT_LIMITS, type Limits, listLimits } from './limits.js'
export { NOT_OFFERED, PARTLY_OFFERED } from './not-offered.js'
export { Refusal } from './refusal.js'
export { Unavailable } from './unavailable.js'

/** Methods that need no context. */
export const CONTEXT_FREE = ['OpenContext', 'GetServerInfo', 'AdvanceClock', 'ListContexts', 'EndContext'] as const

/** Handlers by the method's name in the contract. */
export const HANDLERS = {
  AdvanceClock: server.advanceClock,
  ListContexts: context.listContexts,
  EndContext: context.endContext,
  GetServerInfo: server.getServerInfo,
  OpenContext: context.openContext,
  CloseContext: context.closeContext,
  RenewLease: context.renewLease,
  GetContext: context.getContext,
  ListObjects: context.listObjects,
  Destroy: context.destroy,
  ListDevices: device.listDevices,
  GetDevice: device.getDevice,
  BindDevice: device.bindDevice,
  UnbindDevice: device.unbindDevice,
  AttachRid: device.attachRid,
  ReplaceRid: device.replaceRid,
  DetachRid: device.detachRid,
  AttachPasid: device.attachPasid,
  ReplacePasid: device.replacePasid,
  DetachPasid: device.detachPasid,
  ResetDevice: device.resetDevice,
  Translate: dma.translate,
  DmaRead: dma.dmaRead,
  DmaWrite: dma.dmaWrite,
  AwaitDma: awaitDma,
  Explain: dma.explain,
  CreateIoas: ioas.createIoas,
  IoasAllowIovas: ioas.ioasAllowIovas,
  IoasIovaRanges: ioas.ioasIovaRanges,
  IoasMap: ioas.ioasMap,
  IoasMapFile: ioas.ioasMapFile,
  IoasCopy: ioas.ioasCopy,
  IoasUnmap: ioas.ioasUnmap,
  IoasBatch: ioas.ioasBatch,
  IoasChangeProcess: ioasChangeProcess,
  GetOption: option.getOption,
  SetOption: option.setOption,
  GetVfioIoas: option.getVfioIoas,
  SetVfioIoas: option.setVfioIoas,
  ClearVfioIoas: option.clearVfioIoas,
  CreatePagingDomain: domain.createPagingDomain,
  CreateUserDomain: domain.createUserDomain,
  CreateWindow: window.createWindow,
  GrowWindow: window.growWindow,
  SetDirtyTracking: dirty.setDirtyTracking,
  GetDirtyBitmap: dirty.getDirtyBitmap,
  InvalidateIotlb: invalidateIotlb,
  CreateViommu: viommu.createViommu,
  CreateVdevice: viommu.createVdevice,
  CreateVeventq: veventq.createVeventq,
  PollEvents: veventq.pollEvents,
  CreateHwQueue: hwQueue.createHwQueue,
  CreateFaultQueue: fault.createFaultQueue,
  PollFaults: fault.pollFaults,
  RespondFaults: fault.respondFaults,
  GetHwInfo: getHwInfo,
  CreateMemoryRegion: memory.createMemoryRegion,
  DestroyMemoryRegion: memory.destroyMemoryRegion,
  ListMemoryRegions: memory.listMemoryRegions,
  ReadMemory: memory.readMemory,
  WriteMemory: memory.writeMemory,
  CreateUnit: unit.createUnit,
  GetUnit: unit.getUnit,
  ReadUnitRegisters: unitRegister.readUnitRegisters,
  WriteUnitRegisters: unitRegister.writeUnitRegisters,
  TranslateUnit: unitDma.translateUnit,
  ExplainUnit: unitDma.explainUnit,
  PollUnitInterrupts: unit.pollUnitInterrupts,
  ResetUnit: unit.resetUnit,
  GetCacheStats: cache.getCacheStats,
  SetCachePolicy: cache.setCachePolicy,
  SetOracleMode: oracle.setOracleMode,
  CheckStale: oracle.checkStale,
  ListStaleTranslations: oracle.listStaleTranslations,
  RequestTranslations: ats.requestTranslations,
  RequestPages: ats.requestPages,
  PollInvalidations: ats.pollInvalidations,
  CompleteInvalidations: ats.completeInvalidations,
}
