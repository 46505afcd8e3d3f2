/** What each limit counts, and what happens at it, as GetServerInfo tells it. Why it is as large as it is: limits.ts. */

import type { CallLimits, QuotaName, ServerLimits } from './limits.js'

/** Any limit's name. */
export type LimitName = keyof CallLimits | keyof ServerLimits | QuotaName

/** One sentence for each. */
export const LIMIT_MEANINGS: Readonly<Record<LimitName, string>> = {
  batch_elements: 'elements of an array in a request; more is E2BIG',
  batch_bytes: 'bytes that all elements of a call move; more is E2BIG',
  message_bytes: 'bytes of a request or reply',
  lease_ms: 'longest lease of a context',
  lease_default_ms: 'lease of a context that names none',
  wait_ms: 'longest wait_ms of a call; a longer one is cut',
  fault_answer_ms: 'time to answer a group of page faults; then it is answered INVALID',
  ats_completion_ms: 'time to complete an ATS invalidation; then the device is blocked until it is reset',
  atc_entries: 'translations that a device keeps; beyond, the oldest is taken back',
  label_length: 'characters of a context’s label',
  explained_faults: 'faults of a reply that carry a sentence',
  interrupts_kept: 'interrupts of a raw unit that wait for PollUnitInterrupts; beyond, new ones are dropped',
  oracle_reports:
    'stale translations of one context on one unit that are kept for ListStaleTranslations; beyond, new ones are counted and logged',
  pipelined_calls: 'requests of a connection without a reply; beyond, it is closed',
  contexts: 'contexts that are open',
  explicit_contexts: 'contexts that are open until CloseContext',
  objects: 'objects with an id',
  domains: 'kernel-owned domains and windows, each with an ASID, VMID or domain-id of its unit',
  areas: 'mappings of all IOASes',
  allowed_ranges: 'ranges of IoasAllowIovas and of GrowWindow',
  regions: 'memory regions',
  region_bytes: 'size of all memory regions, written or not',
  resident_bytes: 'anonymous memory that was written, in pieces of 64 KiB, and reads of pending DMA',
  table_bytes: 'page tables that the daemon keeps',
  locked_bytes: 'pinned memory, as RLIMIT_MEMLOCK; more is ENOMEM',
  queue_depth:
    'page faults until they are answered, and vIOMMU events until they are read; beyond, a fault is refused, an event lost',
  pending_dma: 'DMA and page requests from PENDING until AwaitDma has told their end',
  units: 'raw units',
  handles: 'open files of the ioctl door',
  connections: 'connections of a listener; more are closed',
  incoming_bytes: 'requests that are being received or answered, all together',
}
