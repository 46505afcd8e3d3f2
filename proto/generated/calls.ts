// Generated from proto/iommud/v1/*.proto by `npm run generate`. Do not edit.

import type {
  AddDeviceRequest,
  AddDeviceResponse,
  AdvanceClockRequest,
  AdvanceClockResponse,
  AttachPasidRequest,
  AttachPasidResponse,
  AttachRidRequest,
  AttachRidResponse,
  AwaitDmaRequest,
  AwaitDmaResponse,
  BindDeviceRequest,
  BindDeviceResponse,
  CheckStaleRequest,
  CheckStaleResponse,
  ClearVfioIoasRequest,
  ClearVfioIoasResponse,
  CloseContextRequest,
  CloseContextResponse,
  CloseHandleRequest,
  CloseHandleResponse,
  CompleteInvalidationsRequest,
  CompleteInvalidationsResponse,
  CreateFaultQueueRequest,
  CreateFaultQueueResponse,
  CreateHwQueueRequest,
  CreateHwQueueResponse,
  CreateIoasRequest,
  CreateIoasResponse,
  CreateMemoryRegionRequest,
  CreateMemoryRegionResponse,
  CreatePagingDomainRequest,
  CreatePagingDomainResponse,
  CreateUnitRequest,
  CreateUnitResponse,
  CreateUserDomainRequest,
  CreateUserDomainResponse,
  CreateVdeviceRequest,
  CreateVdeviceResponse,
  CreateVeventqRequest,
  CreateVeventqResponse,
  CreateViommuRequest,
  CreateViommuResponse,
  CreateWindowRequest,
  CreateWindowResponse,
  DestroyMemoryRegionRequest,
  DestroyMemoryRegionResponse,
  DestroyRequest,
  DestroyResponse,
  DetachPasidRequest,
  DetachPasidResponse,
  DetachRidRequest,
  DetachRidResponse,
  DmaReadRequest,
  DmaReadResponse,
  DmaWriteRequest,
  DmaWriteResponse,
  EndContextRequest,
  EndContextResponse,
  ExplainRequest,
  ExplainResponse,
  ExplainUnitRequest,
  ExplainUnitResponse,
  GetCacheStatsRequest,
  GetCacheStatsResponse,
  GetContextRequest,
  GetContextResponse,
  GetDeviceRequest,
  GetDeviceResponse,
  GetDirtyBitmapRequest,
  GetDirtyBitmapResponse,
  GetHwInfoRequest,
  GetHwInfoResponse,
  GetOptionRequest,
  GetOptionResponse,
  GetServerInfoRequest,
  GetServerInfoResponse,
  GetUnitRequest,
  GetUnitResponse,
  GetVfioIoasRequest,
  GetVfioIoasResponse,
  GrowWindowRequest,
  GrowWindowResponse,
  Init,
  InjectFaultRequest,
  InjectFaultResponse,
  InvalidateIotlbRequest,
  InvalidateIotlbResponse,
  IoasAllowIovasRequest,
  IoasAllowIovasResponse,
  IoasBatchRequest,
  IoasBatchResponse,
  IoasChangeProcessRequest,
  IoasChangeProcessResponse,
  IoasCopyRequest,
  IoasCopyResponse,
  IoasIovaRangesRequest,
  IoasIovaRangesResponse,
  IoasMapFileRequest,
  IoasMapFileResponse,
  IoasMapRequest,
  IoasMapResponse,
  IoasUnmapRequest,
  IoasUnmapResponse,
  IoctlRequest,
  IoctlResponse,
  ListContextsRequest,
  ListContextsResponse,
  ListDevicesRequest,
  ListDevicesResponse,
  ListMemoryRegionsRequest,
  ListMemoryRegionsResponse,
  ListMethodsRequest,
  ListMethodsResponse,
  ListObjectsRequest,
  ListObjectsResponse,
  ListStaleTranslationsRequest,
  ListStaleTranslationsResponse,
  MapHandleRequest,
  MapHandleResponse,
  OpenContextRequest,
  OpenContextResponse,
  OpenHandleRequest,
  OpenHandleResponse,
  PollEventsRequest,
  PollEventsResponse,
  PollFaultsRequest,
  PollFaultsResponse,
  PollHandleRequest,
  PollHandleResponse,
  PollInvalidationsRequest,
  PollInvalidationsResponse,
  PollUnitInterruptsRequest,
  PollUnitInterruptsResponse,
  ReadHandleRequest,
  ReadHandleResponse,
  ReadMemoryRequest,
  ReadMemoryResponse,
  ReadUnitRegistersRequest,
  ReadUnitRegistersResponse,
  RemoveDeviceRequest,
  RemoveDeviceResponse,
  RenewLeaseRequest,
  RenewLeaseResponse,
  ReplacePasidRequest,
  ReplacePasidResponse,
  ReplaceRidRequest,
  ReplaceRidResponse,
  RequestPagesRequest,
  RequestPagesResponse,
  RequestTranslationsRequest,
  RequestTranslationsResponse,
  ResetDeviceRequest,
  ResetDeviceResponse,
  ResetUnitRequest,
  ResetUnitResponse,
  RespondFaultsRequest,
  RespondFaultsResponse,
  SetCachePolicyRequest,
  SetCachePolicyResponse,
  SetDirtyTrackingRequest,
  SetDirtyTrackingResponse,
  SetOptionRequest,
  SetOptionResponse,
  SetOracleModeRequest,
  SetOracleModeResponse,
  SetVfioIoasRequest,
  SetVfioIoasResponse,
  TranslateRequest,
  TranslateResponse,
  TranslateUnitRequest,
  TranslateUnitResponse,
  UnbindDeviceRequest,
  UnbindDeviceResponse,
  WriteHandleRequest,
  WriteHandleResponse,
  WriteMemoryRequest,
  WriteMemoryResponse,
  WriteUnitRegistersRequest,
  WriteUnitRegistersResponse,
} from './types.js'

/** Every method of the contract as a function. `Options` is what an SDK takes beside a request. */
export interface Calls<Options> {
  /**
   * Lets time pass under `--clock manual`: leases end, waits and time-outs expire, in their order. Answers when all
   * that this caused has happened. Errnos: EINVAL (the clock is not manual).
   */
  advanceClock(request?: Init<AdvanceClockRequest>, options?: Options): Promise<AdvanceClockResponse>

  /**
   * All contexts. Tokens are not told. Errnos: EPERM.
   */
  listContexts(request?: Init<ListContextsRequest>, options?: Options): Promise<ListContextsResponse>

  /**
   * Ends a context, as CloseContext does. Errnos: ENOENT, EPERM.
   */
  endContext(request?: Init<EndContextRequest>, options?: Options): Promise<EndContextResponse>

  /**
   * Adds a device to the platform. Errnos: EEXIST (name, or source id behind that unit), ENOENT (unit, parent), EINVAL
   * (pasid_bits above 20, or more than the unit has), EPERM.
   */
  addDevice(request?: Init<AddDeviceRequest>, options?: Options): Promise<AddDeviceResponse>

  /**
   * Takes a device out of the platform; a bound one is unbound first, as by surprise removal. Errnos: ENOENT, EBUSY
   * (mediated children are bound), EPERM.
   */
  removeDevice(request?: Init<RemoveDeviceRequest>, options?: Options): Promise<RemoveDeviceResponse>

  /**
   * Makes something fail on purpose: the n-th allocation from now, the next reads of a table, the answers of a device
   * TLB. Errnos: EINVAL, ENOENT (unit, device), EPERM.
   */
  injectFault(request?: Init<InjectFaultRequest>, options?: Options): Promise<InjectFaultResponse>

  /**
   * ATS Translation Requests. Fills the device's ATC and answers with places that TRANSLATED addresses may name. The
   * ATC of a raw unit's stream is its client's. Errnos in `refusal`: ENOENT (device, unit), EINVAL (the device has no
   * ATS; pasid), E2BIG, EOPNOTSUPP.
   */
  requestTranslations(request?: Init<RequestTranslationsRequest>, options?: Options): Promise<RequestTranslationsResponse>

  /**
   * PRI Page Requests: asks software for pages that a translation request did not find. Each group ends with one
   * request with `last`, whose transaction AwaitDma can wait for. Errnos in `refusal`: ENOENT, EINVAL (the device has
   * no PRI; group_index above 511; an access that is neither a request nor a stop marker), EDQUOT (pending_dma), E2BIG.
   */
  requestPages(request?: Init<RequestPagesRequest>, options?: Options): Promise<RequestPagesResponse>

  /**
   * ATS Invalidate Requests that wait for this device's completion, oldest first. Errnos: ENOENT (device, unit), EINVAL
   * (the device has no ATS).
   */
  pollInvalidations(request?: Init<PollInvalidationsRequest>, options?: Options): Promise<PollInvalidationsResponse>

  /**
   * ATS Invalidate Completions: the translations are forgotten, nothing uses them any more. A device that does not
   * complete one within the limit `ats_completion_ms` does nothing until it is reset. Errnos in `refusal`: ENOENT
   * (device, unit; a tag that is not outstanding), EINVAL (the device has no ATS; `timed_out` of a device).
   */
  completeInvalidations(request?: Init<CompleteInvalidationsRequest>, options?: Options): Promise<CompleteInvalidationsResponse>

  /**
   * Entries, hits and misses of each cache, and the policy. Errnos: EINVAL (no unit is named), ENOENT (unit), EPERM (the
   * counters of a shared unit would tell what others do), EOPNOTSUPP (the self-test unit has no caches).
   */
  getCacheStats(request?: Init<GetCacheStatsRequest>, options?: Options): Promise<GetCacheStatsResponse>

  /**
   * Sets how caches keep entries, and empties them. Registers, outstanding ATS invalidations, device TLBs and stalled
   * transactions stay as they are. Errnos: EINVAL (no unit is named, a seed that the policy does not take), ENOENT (unit),
   * EPERM, EOPNOTSUPP (policy, the self-test unit).
   */
  setCachePolicy(request?: Init<SetCachePolicyRequest>, options?: Options): Promise<SetCachePolicyResponse>

  /**
   * Switches the oracle: with it every translation is compared with a fresh, dry walk. It starts anew: what it has counted
   * and reported before is gone. Errnos: EINVAL (no unit is named, no mode), ENOENT (unit), EPERM, EOPNOTSUPP (mode, the
   * self-test unit).
   */
  setOracleMode(request?: Init<SetOracleModeRequest>, options?: Options): Promise<SetOracleModeResponse>

  /**
   * Compares every translation that was met and is cached with a fresh, dry walk, now. Changes nothing but the reports: what
   * is stale is reported, whether a SYNC or wait has completed since the change or not. Errnos: EINVAL (no unit is named),
   * ENOENT (unit), EPERM, ENODEV (its oracle is off), EOPNOTSUPP (the self-test unit).
   */
  checkStale(request?: Init<CheckStaleRequest>, options?: Options): Promise<CheckStaleResponse>

  /**
   * What the oracle found since it was switched on, oldest first. The limit `oracle_reports` says how many are kept of a
   * context; later ones are counted. Errnos: EINVAL (no unit is named), ENOENT (unit), EOPNOTSUPP (the self-test unit).
   */
  listStaleTranslations(request?: Init<ListStaleTranslationsRequest>, options?: Options): Promise<ListStaleTranslationsResponse>

  /**
   * Opens a context: open(2) of /dev/iommu. Everything a client makes lives in one and ends with it.
   * Errnos: EDQUOT (contexts), EOPNOTSUPP (CONNECTION on a transport whose connections are not the client's own).
   */
  openContext(request?: Init<OpenContextRequest>, options?: Options): Promise<OpenContextResponse>

  /**
   * Ends a context and all it holds, as the end of a process does: close(2) of everything. Devices lose their
   * attachments, pending DMA ends ABORTED. Answers when all is gone. Errnos: none but EBADF.
   */
  closeContext(request?: Init<CloseContextRequest>, options?: Options): Promise<CloseContextResponse>

  /**
   * Renews a lease. Any call renews it too; this one does nothing else. Errnos: EINVAL (a lease_ms on a context
   * without a lease), EDQUOT (lease_ms).
   */
  renewLease(request?: Init<RenewLeaseRequest>, options?: Options): Promise<RenewLeaseResponse>

  /**
   * What a context is and how much of its quotas it uses.
   */
  getContext(request?: Init<GetContextRequest>, options?: Options): Promise<GetContextResponse>

  /**
   * The context's objects by ascending id.
   */
  listObjects(request?: Init<ListObjectsRequest>, options?: Options): Promise<ListObjectsResponse>

  /**
   * The platform's devices, by name.
   */
  listDevices(request?: Init<ListDevicesRequest>, options?: Options): Promise<ListDevicesResponse>

  /**
   * A bound device and what is attached to it. Errnos: ENOENT (device).
   */
  getDevice(request?: Init<GetDeviceRequest>, options?: Options): Promise<GetDeviceResponse>

  /**
   * VFIO_DEVICE_BIND_IOMMUFD: takes a device for this context; only this context makes its DMA. WHOLE_DEVICE takes the
   * RID and every PASID, as VFIO does. Errnos: ENODEV (no such device), EINVAL (bound already; grant), EACCES (token),
   * EBUSY (another context has it; WHOLE_DEVICE while a mediated child is bound, or a child of a parent so bound),
   * EPERM (WHOLE_DEVICE of a mediated device), EDQUOT.
   */
  bindDevice(request?: Init<BindDeviceRequest>, options?: Options): Promise<BindDeviceResponse>

  /**
   * close(2) of a VFIO device: detaches its PASIDs and RID and gives the device back. A vDEVICE of it becomes
   * unusable and keeps its id. Errnos: ENOENT (device).
   */
  unbindDevice(request?: Init<UnbindDeviceRequest>, options?: Options): Promise<UnbindDeviceResponse>

  /**
   * VFIO_DEVICE_ATTACH_IOMMUFD_PT on an empty RID: routes the device's DMA without PASID into a domain. Errnos: ENOENT
   * (device; pt_id; SMMUv3: a translating user domain before the device's vDEVICE), EINVAL (pt_id is neither IOAS nor
   * domain; a domain of another IOMMU; a mediated device, which has no RID), EBUSY (occupied, or PASIDs are in use
   * where the new domain covers them), EADDRINUSE (the device's reserved IOVAs are mapped), EPERM (PASID_ONLY grant; a
   * whole-RID domain or a window needs WHOLE_DEVICE), ENODEV (VT-d: faults asked for, device without PRI), EFAULT,
   * ENOMEM. A window, or a smmuv3_pgd domain, which is then PASID 0 of its window: also EBUSY (it is another RID's;
   * PASIDs are in use that are not its own).
   */
  attachRid(request?: Init<AttachRidRequest>, options?: Options): Promise<AttachRidResponse>

  /**
   * VFIO_DEVICE_ATTACH_IOMMUFD_PT on an occupied RID: moves it to another domain, without a gap where the architecture
   * allows. On refusal the old domain stays. Errnos: EINVAL (nothing attached), EBUSY (SMMUv3: from an STE's domain to a
   * window or back: detach first), and AttachRid's without EBUSY for an occupied RID.
   */
  replaceRid(request?: Init<ReplaceRidRequest>, options?: Options): Promise<ReplaceRidResponse>

  /**
   * VFIO_DEVICE_DETACH_IOMMUFD_PT: blocks the device's DMA without PASID; its PASIDs go on. Nothing attached is success.
   * Errnos: ENOENT (device).
   */
  detachRid(request?: Init<DetachRidRequest>, options?: Options): Promise<DetachRidResponse>

  /**
   * VFIO_DEVICE_ATTACH_IOMMUFD_PT with VFIO_DEVICE_ATTACH_PASID on an empty PASID: routes the RID's DMA with one PASID
   * into a domain. VT-d: paging and user domains. SMMUv3: stage-1 paging domains, and smmuv3_pgd user domains of the
   * RID's window, which PASID 0 takes too. Errnos: as AttachRid; EINVAL (PASID 0 where the RID has no window, or too
   * large, domain made without PASID, an IOAS id, an SMMUv3 STE, which covers all PASIDs; a domain of a window that is
   * not the device's, a kernel-owned domain beside a window; a mediated device's other PASIDs), EPERM (an SMMUv3 user
   * domain for a mediated device), ENOSPC (PASID >= 2^31; a full window, with `bytes_needed`: GrowWindow).
   */
  attachPasid(request?: Init<AttachPasidRequest>, options?: Options): Promise<AttachPasidResponse>

  /**
   * VFIO_DEVICE_ATTACH_IOMMUFD_PT with VFIO_DEVICE_ATTACH_PASID on an occupied PASID: moves it to another domain. On
   * refusal the old domain stays. Errnos: EINVAL (nothing attached), and AttachPasid's.
   */
  replacePasid(request?: Init<ReplacePasidRequest>, options?: Options): Promise<ReplacePasidResponse>

  /**
   * VFIO_DEVICE_DETACH_IOMMUFD_PT with VFIO_DEVICE_DETACH_PASID: blocks one PASID. Nothing attached is success. Without
   * PASID 0 in its window, a device's DMA without a PASID goes through the window's parent alone. Errnos: ENOENT
   * (device).
   */
  detachPasid(request?: Init<DetachPasidRequest>, options?: Options): Promise<DetachPasidResponse>

  /**
   * VFIO_DEVICE_RESET: function-level reset. The device's ATC and pending transactions go (they end ABORTED);
   * attachments stay. Errnos: ENOENT (device).
   */
  resetDevice(request?: Init<ResetDeviceRequest>, options?: Options): Promise<ResetDeviceResponse>

  /**
   * Translates many IOVAs as accesses of the device would, without moving data: caches fill, access and dirty flags
   * are set, faults are recorded. Replies in dense arrays, one element per IOVA. It names regions and offsets.
   * Errnos in `refusal`: ENOENT (device), EINVAL (access without READ, WRITE or EXEC; accesses of another length;
   * PASID too wide for the device, or given to a mediated device; address_type of a device without ATS), E2BIG, EDQUOT
   * (pending_dma).
   */
  translate(request?: Init<TranslateRequest>, options?: Options): Promise<TranslateResponse>

  /**
   * Reads memory as the device. Each element may cross pages and end half way. Errnos in `refusal`: as Translate, and
   * EDQUOT (resident_bytes: of a device that may stall, for what an element is to read).
   */
  dmaRead(request?: Init<DmaReadRequest>, options?: Options): Promise<DmaReadResponse>

  /**
   * Writes memory as the device. Each element may cross pages and end half way. Errnos in `refusal`: as Translate, and
   * EDQUOT (resident_bytes: anonymous memory that was never written; the element may have been done half way).
   */
  dmaWrite(request?: Init<DmaWriteRequest>, options?: Options): Promise<DmaWriteResponse>

  /**
   * Tells how PENDING transactions ended, waiting up to `wait_ms` for all of them. An ended transaction is told once
   * and forgotten; one still PENDING can be asked for again. Errnos in `refusal`: ENOENT (unknown, or told before),
   * E2BIG (the reads of those before it fill the limit `batch_bytes`).
   */
  awaitDma(request?: Init<AwaitDmaRequest>, options?: Options): Promise<AwaitDmaResponse>

  /**
   * Walks the tables for one access and shows each step: address, raw entry, decoded fields, verdict; and beside it
   * what the caches would say. Changes nothing and records nothing. Errnos: ENOENT (device), EINVAL (access, pasid).
   */
  explain(request?: Init<ExplainRequest>, options?: Options): Promise<ExplainResponse>

  /**
   * open(2): a file by path, or a file on an existing object. Errnos: ENOENT (path, object, region), EINVAL (the object
   * has no file), EDQUOT (handles).
   */
  openHandle(request?: Init<OpenHandleRequest>, options?: Options): Promise<OpenHandleResponse>

  /**
   * ioctl(2): any ioctl of the file, with the kernel's rules for sizes, tails and ENOTTY: IOMMU_* (0x3b80 …), the VFIO
   * container's on /dev/iommu, VFIO_DEVICE_* on a device. Always answers OK, with the errno. Pointers are followed into
   * `memory` and into regions with a `client_address`; anything else is EFAULT when the kernel would touch it.
   * Descriptor numbers in structs are handles. Errors of the call itself: EBADF (handle), E2BIG.
   */
  ioctl(request?: Init<IoctlRequest>, options?: Options): Promise<IoctlResponse>

  /**
   * read(2), never blocking. Fault queues: multiples of 40 bytes, vEVENTQs: whole records. Errnos: EBADF, ESPIPE (count
   * of a fault queue), EINVAL (the file cannot be read).
   */
  readHandle(request?: Init<ReadHandleRequest>, options?: Options): Promise<ReadHandleResponse>

  /**
   * write(2), never blocking. Fault queues: multiples of 8 bytes. Errnos, if nothing was taken: EBADF, ESPIPE (length),
   * EINVAL (cookie, code; the file cannot be written).
   */
  writeHandle(request?: Init<WriteHandleRequest>, options?: Options): Promise<WriteHandleResponse>

  /**
   * poll(2): waits until a file is ready. A handle that is not open answers POLLNVAL, as in the kernel. Errnos in
   * `refusal`: E2BIG.
   */
  pollHandle(request?: Init<PollHandleRequest>, options?: Options): Promise<PollHandleResponse>

  /**
   * mmap(2), shared: a vIOMMU's or queue's page becomes a region for ReadMemory and WriteMemory; DestroyMemoryRegion is
   * munmap(2). Errnos: EBADF, EINVAL (length no multiple of 4096), EPERM (PROT_EXEC), ENXIO (offset and length are not
   * exactly what was given out).
   */
  mapHandle(request?: Init<MapHandleRequest>, options?: Options): Promise<MapHandleResponse>

  /**
   * close(2). A device's: detaches and unbinds it. A queue's: Destroy becomes possible. Errnos: EBADF.
   */
  closeHandle(request?: Init<CloseHandleRequest>, options?: Options): Promise<CloseHandleResponse>

  /**
   * IOMMU_DESTROY: destroys any object of the context. Errnos: ENOENT, EBUSY (others hold it; devices always,
   * UnbindDevice ends those; queues whose handle is open).
   */
  destroy(request?: Init<DestroyRequest>, options?: Options): Promise<DestroyResponse>

  /**
   * IOMMU_IOAS_ALLOC: makes an empty I/O address space. Errnos: EOPNOTSUPP (flags), EDQUOT.
   */
  createIoas(request?: Init<CreateIoasRequest>, options?: Options): Promise<CreateIoasResponse>

  /**
   * IOMMU_IOAS_ALLOW_IOVAS: replaces the list of IOVAs that may be chosen automatically and that reservations must
   * keep clear of. Fixed maps are not limited. Errnos in `refusal`: ENOENT (ioas), EINVAL (first >= last, ranges
   * overlap), EADDRINUSE (a range is reserved; the old list stays).
   */
  ioasAllowIovas(request?: Init<IoasAllowIovasRequest>, options?: Options): Promise<IoasAllowIovasResponse>

  /**
   * IOMMU_IOAS_IOVA_RANGES: the IOVAs that no device or domain reserves, whether mapped or not, and the alignment in
   * bytes. Errnos: ENOENT (ioas); in `refusal`: EMSGSIZE (more ranges than max_ranges, those that fit are valid).
   */
  ioasIovaRanges(request?: Init<IoasIovaRangesRequest>, options?: Options): Promise<IoasIovaRangesResponse>

  /**
   * IOMMU_IOAS_MAP: maps memory of a region, at `iova` or at the lowest place that fits.
   * Errnos: EOPNOTSUPP (flags), EOVERFLOW (iova or length all ones, a range ends beyond 2^64), EINVAL (no right
   * asked, length 0, misaligned, FIXED in a reserved range), ENOENT (ioas; a user domain's id is no IOAS either:
   * its tables are their owner's), EEXIST (FIXED onto a mapping), ENOSPC (no room), EPERM (WRITEABLE of read-only
   * memory), EFAULT (outside the regions; only once the IOAS has a domain), ENOMEM, EDQUOT (areas, table_bytes).
   */
  ioasMap(request?: Init<IoasMapRequest>, options?: Options): Promise<IoasMapResponse>

  /**
   * IOMMU_IOAS_MAP_FILE: maps a file's memory. Errnos: as IoasMap, EBADF (no such file), EINVAL (not a memory
   * file, or the range ends beyond it; only once the IOAS has a domain).
   */
  ioasMapFile(request?: Init<IoasMapFileRequest>, options?: Options): Promise<IoasMapFileResponse>

  /**
   * IOMMU_IOAS_COPY: maps the memory behind a range of one IOAS into another, or the same. Errnos: as IoasMap,
   * ENOENT (either IOAS; the source range has a hole), EPERM (WRITEABLE of memory first mapped without it).
   */
  ioasCopy(request?: Init<IoasCopyRequest>, options?: Options): Promise<IoasCopyResponse>

  /**
   * IOMMU_IOAS_UNMAP: unmaps the areas inside a range; iova 0 with length 2^64-1 unmaps all. When it answers, no
   * device reaches them. Errnos: ENOENT (ioas; nothing mapped there; the range cuts an area), EOVERFLOW, EINVAL
   * (length 0), EBUSY (locked by a hardware queue, or being mapped). Areas below the one that was refused are gone:
   * the error's context says how many bytes, as `removed`.
   */
  ioasUnmap(request?: Init<IoasUnmapRequest>, options?: Options): Promise<IoasUnmapResponse>

  /**
   * Many maps, unmaps and copies in one call, in order, up to the first that is refused: what would be as many
   * ioctls. Errnos in `refusal`: those of IoasMap, IoasUnmap, IoasCopy.
   */
  ioasBatch(request?: Init<IoasBatchRequest>, options?: Options): Promise<IoasBatchResponse>

  /**
   * IOMMU_IOAS_CHANGE_PROCESS: moves the accounting of all mappings to the caller. Errnos: EINVAL (a mapping that is
   * not a file's), ENOMEM.
   */
  ioasChangeProcess(request?: Init<IoasChangeProcessRequest>, options?: Options): Promise<IoasChangeProcessResponse>

  /**
   * IOMMU_OPTION with IOMMU_OPTION_OP_GET. Errnos: EOPNOTSUPP (option; RLIMIT_MODE of an object), ENOENT (HUGE_PAGES
   * of no IOAS).
   */
  getOption(request?: Init<GetOptionRequest>, options?: Options): Promise<GetOptionResponse>

  /**
   * IOMMU_OPTION with IOMMU_OPTION_OP_SET. Errnos: as GetOption, EPERM (RLIMIT_MODE without CAP_SYS_RESOURCE), EBUSY
   * (RLIMIT_MODE while objects exist), EINVAL (value; HUGE_PAGES 0 once areas and a domain exist), EADDRINUSE
   * (HUGE_PAGES 0 with an area not aligned to 4096).
   */
  setOption(request?: Init<SetOptionRequest>, options?: Options): Promise<SetOptionResponse>

  /**
   * IOMMU_VFIO_IOAS with IOMMU_VFIO_IOAS_GET: the IOAS that VFIO container ioctls act on. Errnos: ENODEV (none set).
   */
  getVfioIoas(request?: Init<GetVfioIoasRequest>, options?: Options): Promise<GetVfioIoasResponse>

  /**
   * IOMMU_VFIO_IOAS with IOMMU_VFIO_IOAS_SET. Errnos: ENOENT (ioas).
   */
  setVfioIoas(request?: Init<SetVfioIoasRequest>, options?: Options): Promise<SetVfioIoasResponse>

  /**
   * IOMMU_VFIO_IOAS with IOMMU_VFIO_IOAS_CLEAR. Errnos: none.
   */
  clearVfioIoas(request?: Init<ClearVfioIoasRequest>, options?: Options): Promise<ClearVfioIoasResponse>

  /**
   * IOMMU_HWPT_ALLOC with data type NONE on an IOAS: a domain whose tables the daemon keeps, and which may be a
   * nesting parent. Errnos: ENOENT (device, fault queue), EINVAL (ioas_id is no IOAS; page sizes do not fit),
   * EOPNOTSUPP (flags, or what the IOMMU lacks; FAULT_ID_VALID with NEST_PARENT), EADDRINUSE (areas or allowed ranges
   * outside the aperture), EFAULT, ENOMEM, EDQUOT.
   */
  createPagingDomain(request?: Init<CreatePagingDomainRequest>, options?: Options): Promise<CreatePagingDomainResponse>

  /**
   * IOMMU_HWPT_ALLOC with data type VTD_S1 or ARM_SMMUV3: a domain whose tables are in guest memory, in the device's
   * own format. Table addresses are IPAs of the parent. Nothing maps into it. VT-d: on a nesting parent. SMMUv3: on a
   * vIOMMU, and to attach a translating STE, the device needs a vDEVICE there first; or one root on a window.
   * Errnos: ENOENT (device, fault queue), EINVAL (target is none of its kind, parent without NEST_PARENT; SMMUv3: data
   * of another architecture; smmuv3_pgd without a window, a window without smmuv3_pgd), EOPNOTSUPP (flags; VT-d: data
   * of another architecture; SMMUv3: a parent instead of a vIOMMU; smmuv3_pgd under --strict), EIO (a field of the STE
   * that is not the guest's to set), EDQUOT. In a window also: EINVAL (a CD field that would be illegal, named), ENOSPC
   * (the window has no ASID left).
   */
  createUserDomain(request?: Init<CreateUserDomainRequest>, options?: Options): Promise<CreateUserDomainResponse>

  /**
   * IOMMU_HWPT_INVALIDATE: forgets what hardware cached of user tables, in order up to the first entry that is
   * refused. It answers when the hardware has completed, device TLBs included. Errnos in `refusal`: ENOENT, EINVAL
   * (type does not fit the target; alignment), EOPNOTSUPP (an SMMUv3 STE's domain instead of its vIOMMU; flags), EIO
   * (a command that is not the guest's, an unknown virtual StreamID), ETIMEDOUT (a device TLB did not answer).
   */
  invalidateIotlb(request?: Init<InvalidateIotlbRequest>, options?: Options): Promise<InvalidateIotlbResponse>

  /**
   * IOMMU_HWPT_SET_DIRTY_TRACKING: switches dirty tracking; switching on clears all dirty bits first. Errnos: ENOENT
   * (domain), EOPNOTSUPP (flags; the domain was not made with DIRTY_TRACKING).
   */
  setDirtyTracking(request?: Init<SetDirtyTrackingRequest>, options?: Options): Promise<SetDirtyTrackingResponse>

  /**
   * IOMMU_HWPT_GET_DIRTY_BITMAP: which pages of a range were written; clears them and flushes, unless NO_CLEAR. The
   * walk stops silently at a hole. A large page reports its whole span. Errnos: EOPNOTSUPP, ENOENT (domain),
   * EOVERFLOW, EINVAL (alignment, page_size 0), EMSGSIZE (a bitmap above the limit `batch_bytes`).
   */
  getDirtyBitmap(request?: Init<GetDirtyBitmapRequest>, options?: Options): Promise<GetDirtyBitmapResponse>

  /**
   * IOMMU_FAULT_QUEUE_ALLOC: a queue of page faults. No file is open on it until OpenHandle. Errnos: EOPNOTSUPP
   * (flags), EDQUOT.
   */
  createFaultQueue(request?: Init<CreateFaultQueueRequest>, options?: Options): Promise<CreateFaultQueueResponse>

  /**
   * read(2) of a fault queue's file: takes whole groups, oldest first; each then waits for its response. Detaching
   * answers them INVALID. Errnos: ENOENT (queue).
   */
  pollFaults(request?: Init<PollFaultsRequest>, options?: Options): Promise<PollFaultsResponse>

  /**
   * write(2) of a fault queue's file: answers groups, in order up to the first that is refused. Errnos in `refusal`:
   * ENOENT (queue), EINVAL (unknown cookie, code).
   */
  respondFaults(request?: Init<RespondFaultsRequest>, options?: Options): Promise<RespondFaultsResponse>

  /**
   * IOMMU_VIOMMU_ALLOC: a virtual IOMMU on a nesting parent (SMMUv3 only; VT-d has none). Errnos: EOPNOTSUPP (flags,
   * type), ENOENT (device; parent is no paging domain), EINVAL (parent without NEST_PARENT, or of another SMMU),
   * EDQUOT.
   */
  createViommu(request?: Init<CreateViommuRequest>, options?: Options): Promise<CreateViommuResponse>

  /**
   * IOMMU_VDEVICE_ALLOC: names a device inside a vIOMMU. Errnos: ENOENT (vIOMMU, device), EINVAL (device behind
   * another IOMMU), EEXIST (the device has one; virt_id is taken), EDQUOT.
   */
  createVdevice(request?: Init<CreateVdeviceRequest>, options?: Options): Promise<CreateVdeviceResponse>

  /**
   * IOMMU_VEVENTQ_ALLOC: a queue for a vIOMMU's events. Errnos: EOPNOTSUPP (flags, type), EINVAL (depth), ENOENT
   * (vIOMMU), EEXIST (one of this type exists), EDQUOT.
   */
  createVeventq(request?: Init<CreateVeventqRequest>, options?: Options): Promise<CreateVeventqResponse>

  /**
   * read(2) of a vEVENTQ's file: takes events, oldest first. Errnos: ENOENT (queue).
   */
  pollEvents(request?: Init<PollEventsRequest>, options?: Options): Promise<PollEventsResponse>

  /**
   * IOMMU_HW_QUEUE_ALLOC: a queue that hardware reads from guest memory; the memory cannot be unmapped meanwhile.
   * Errnos: EOPNOTSUPP (flags, type, IOMMU without queues), EINVAL, EOVERFLOW, ENOENT (vIOMMU, IOVA), EPERM
   * (not readable), EEXIST (index in use), EIO (previous index missing), EFAULT (not contiguous), ERANGE, EADDRINUSE.
   */
  createHwQueue(request?: Init<CreateHwQueueRequest>, options?: Options): Promise<CreateHwQueueResponse>

  /**
   * IOMMU_GET_HW_INFO: ID registers and capabilities of the IOMMU in front of a device, and how user domains bind
   * there. Errnos: ENOENT (device), EOPNOTSUPP (requested_type is not the IOMMU's).
   */
  getHwInfo(request?: Init<GetHwInfoRequest>, options?: Options): Promise<GetHwInfoResponse>

  /**
   * Reserves IPAs of a nesting parent for a CD table the daemon keeps (SMMUv3): they become reserved in the IOAS and
   * read-only to the device. With it user domains bind to single PASIDs, as on VT-d: AttachRid takes the window as
   * `pt_id`, and what the device sends without a PASID goes through the parent alone. From then on PASID 0 is what
   * AttachPasid, ReplacePasid and DetachPasid call the RID's own root in the window. A window serves one RID at a time.
   * Destroy is EBUSY while it is attached, or a domain is on it. Errnos: ENOENT (parent), EINVAL (no nesting parent;
   * first above last, not whole pages, outside the aperture), EOPNOTSUPP (not an SMMUv3, or one without nesting or
   * SubstreamIDs), EADDRINUSE (a mapping, allowed range or reservation is there), ENOSPC (no VMID is left), ENOMEM,
   * EDQUOT (table_bytes counts its memory, domains its VMID).
   */
  createWindow(request?: Init<CreateWindowRequest>, options?: Options): Promise<CreateWindowResponse>

  /**
   * Adds a range of IPAs to a window that AttachPasid found full: ENOSPC, with `bytes_needed`, and with an `alignment`
   * where they are to lie together at one. The device keeps translating. Errnos: ENOENT (window), EINVAL, EADDRINUSE,
   * ENOMEM and EDQUOT as CreateWindow.
   */
  growWindow(request?: Init<GrowWindowRequest>, options?: Options): Promise<GrowWindowResponse>

  /**
   * Makes a region: the daemon's own zeroed memory, or a shared mapping of a file or descriptor. Guest writes to
   * shared memory are seen by the next table walk without any call.
   * Errnos: EINVAL (bytes 0, offset or bytes not a multiple of 4096, or two regions overlap in client or bus
   * addresses), EACCES (path outside `file_roots`, or not writable as asked), ENOENT (no such file), EBADF (no such
   * descriptor), EOVERFLOW (a range ends beyond 2^64), ENOMEM, EDQUOT (region_bytes).
   */
  createMemoryRegion(request?: Init<CreateMemoryRegionRequest>, options?: Options): Promise<CreateMemoryRegionResponse>

  /**
   * Ends a region. Pages that an IOAS has mapped stay reachable by devices until they are unmapped, as the kernel's
   * pinned pages do; the id is free at once. For a region made by MapHandle this is munmap(2).
   * Errnos: ENOENT, EBUSY (a raw unit is using it right now).
   */
  destroyMemoryRegion(request?: Init<DestroyMemoryRegionRequest>, options?: Options): Promise<DestroyMemoryRegionResponse>

  /**
   * The context's regions by ascending id.
   */
  listMemoryRegions(request?: Init<ListMemoryRegionsRequest>, options?: Options): Promise<ListMemoryRegionsResponse>

  /**
   * Reads slices of regions, in order, up to the first that is refused.
   * Errnos in `refusal`: ENOENT (region), EINVAL (slice outside the region), E2BIG (batch_elements, batch_bytes).
   */
  readMemory(request?: Init<ReadMemoryRequest>, options?: Options): Promise<ReadMemoryResponse>

  /**
   * Writes slices of regions, in order, up to the first that is refused. An aligned 8-byte slice is one store.
   * Errnos in `refusal`: ENOENT (region), EINVAL (slice outside the region), EACCES (region is read-only), E2BIG,
   * EDQUOT (resident_bytes: anonymous memory counts once it is written, 64 KiB at a time; nothing of the slice is).
   */
  writeMemory(request?: Init<WriteMemoryRequest>, options?: Options): Promise<WriteMemoryResponse>

  /**
   * The daemon's version, boot, limits, features and platform. Call it first.
   * Never refused.
   */
  getServerInfo(request?: Init<GetServerInfoRequest>, options?: Options): Promise<GetServerInfoResponse>

  /**
   * Every method of the contract with its status on this daemon: offered, or not, and then why.
   * Never refused.
   */
  listMethods(request?: Init<ListMethodsRequest>, options?: Options): Promise<ListMethodsResponse>

  /**
   * Makes a unit in its reset state. Errnos: EINVAL (type, an override that names no ID register, or bits that the
   * model cannot offer; the reason names them; a seed that the policy does not take), ENOENT (preset), EDQUOT (units), EOPNOTSUPP (a cache policy that units
   * of the type do not have).
   */
  createUnit(request?: Init<CreateUnitRequest>, options?: Options): Promise<CreateUnitResponse>

  /**
   * What a unit is, and its ID registers. Errnos: ENOENT (unit).
   */
  getUnit(request?: Init<GetUnitRequest>, options?: Options): Promise<GetUnitResponse>

  /**
   * Reads registers, in order up to the first that is refused. An offset without a register reads 0. Errnos in
   * `refusal`: ENOENT (unit), EINVAL (width not 4 or 8, misaligned, beyond `register_bytes`), E2BIG.
   */
  readUnitRegisters(request?: Init<ReadUnitRegistersRequest>, options?: Options): Promise<ReadUnitRegistersResponse>

  /**
   * Writes registers, in order up to the first that is refused. Queues are consumed before the next write; a queue that
   * waits for a device TLB is not waited for: it goes on in CompleteInvalidations. Requests that were PENDING and that
   * a command or a register ends have ended when the reply leaves. Errnos in `refusal`: as ReadUnitRegisters.
   */
  writeUnitRegisters(request?: Init<WriteUnitRegistersRequest>, options?: Options): Promise<WriteUnitRegistersResponse>

  /**
   * Translates many accesses of streams, as DmaService.Translate does, and answers with physical addresses. What stalls
   * is PENDING until software resumes or ends it; AwaitDma tells how. On a unit that offers stalls each access needs
   * room for one more, whether it stalls or not. Errnos in `refusal`: ENOENT (unit), EINVAL (access; pasid; arrays of
   * another length), E2BIG, EDQUOT (pending_dma).
   */
  translateUnit(request?: Init<TranslateUnitRequest>, options?: Options): Promise<TranslateUnitResponse>

  /**
   * Walks the tables for one access and shows each step. Changes nothing. Errnos: ENOENT (unit), EINVAL (access; pasid),
   * EOPNOTSUPP (request_type).
   */
  explainUnit(request?: Init<ExplainUnitRequest>, options?: Options): Promise<ExplainUnitResponse>

  /**
   * Interrupts the unit raised: edges of its wires, and MSIs whose address is in no region. Errnos: ENOENT (unit).
   */
  pollUnitInterrupts(request?: Init<PollUnitInterruptsRequest>, options?: Options): Promise<PollUnitInterruptsResponse>

  /**
   * Puts a unit into its reset state: registers and caches. Stalled transactions, and page requests without a response,
   * end ABORTED, as they do when the unit is destroyed; invalidations are not outstanding any more. Errnos: ENOENT
   * (unit).
   */
  resetUnit(request?: Init<ResetUnitRequest>, options?: Options): Promise<ResetUnitResponse>
}
