/**
 * Entries of the invalidation queue, as the manual prints them. No algorithm. A bit in no field is reserved.
 * [VTD 6.5.2 Queued Invalidation Interface]
 */

import { address, bit, bits, layout } from '../bits/layout.js'

/** What every invalidation descriptor has; the type is split. [VTD 6.5.2 Queued Invalidation Interface] */
export const DESCRIPTOR = layout('invalidation descriptor', 128, {
  TypeLow: bits(3, 0),
  TypeHigh: bits(11, 9),
})

/** Descriptor types. [VTD 6.5.2.11 T26] */
export const DESCRIPTOR_TYPE = {
  CONTEXT_CACHE: 1,
  IOTLB: 2,
  DEVICE_TLB: 3,
  INTERRUPT_ENTRY_CACHE: 4,
  WAIT: 5,
  PASID_IOTLB: 6,
  PASID_CACHE: 7,
  PASID_DEVICE_TLB: 8,
  PAGE_GROUP_RESPONSE: 9,
  HPT_CACHE: 10,
} as const

/** [VTD 6.5.2.1 Context-cache Invalidate Descriptor] */
export const CONTEXT_CACHE_INVALIDATE = layout('context-cache invalidate', 128, {
  TypeLow: bits(3, 0),
  G: bits(5, 4),
  TypeHigh: bits(11, 9),
  DID: bits(31, 16),
  SID: bits(47, 32),
  FM: bits(49, 48),
})

/** [VTD 6.5.2.2 PASID-cache Invalidate Descriptor] */
export const PASID_CACHE_INVALIDATE = layout('PASID-cache invalidate', 128, {
  TypeLow: bits(3, 0),
  G: bits(5, 4),
  TypeHigh: bits(11, 9),
  DID: bits(31, 16),
  PASID: bits(51, 32),
})

/** [VTD 6.5.2.3 IOTLB Invalidate Descriptor] */
export const IOTLB_INVALIDATE = layout('IOTLB invalidate', 128, {
  TypeLow: bits(3, 0),
  G: bits(5, 4),
  DW: bit(6),
  DR: bit(7),
  TypeHigh: bits(11, 9),
  DID: bits(31, 16),
  AM: bits(69, 64),
  IH: bit(70),
  ADDR: address(127, 76),
})

/** [VTD 6.5.2.4 PASID-based-IOTLB Invalidate Descriptor] */
export const PASID_IOTLB_INVALIDATE = layout('PASID-based-IOTLB invalidate', 128, {
  TypeLow: bits(3, 0),
  G: bits(5, 4),
  TypeHigh: bits(11, 9),
  DID: bits(31, 16),
  PASID: bits(51, 32),
  AM: bits(69, 64),
  IH: bit(70),
  ADDR: address(127, 76),
})

/** [VTD 6.5.2.5 Device-TLB Invalidate Descriptor] */
export const DEVICE_TLB_INVALIDATE = layout('device-TLB invalidate', 128, {
  TypeLow: bits(3, 0),
  TypeHigh: bits(11, 9),
  PFSIDLow: bits(15, 12),
  MIP: bits(20, 16),
  SID: bits(47, 32),
  PFSIDHigh: bits(63, 52),
  S: bit(64),
  ADDR: address(127, 76),
})

/** [VTD 6.5.2.6 PASID-based-Device-TLB Invalidate Descriptor] */
export const PASID_DEVICE_TLB_INVALIDATE = layout('PASID-based-device-TLB invalidate', 128, {
  TypeLow: bits(3, 0),
  MIP: bits(8, 4),
  TypeHigh: bits(11, 9),
  PFSIDLow: bits(15, 12),
  SID: bits(31, 16),
  PASID: bits(51, 32),
  PFSIDHigh: bits(63, 52),
  GI: bit(64),
  S: bit(75),
  ADDR: address(127, 76),
})

/** [VTD 6.5.2.7 HPT Cache Invalidate Descriptor] */
export const HPT_CACHE_INVALIDATE = layout('HPT cache invalidate', 128, {
  TypeLow: bits(3, 0),
  G: bits(5, 4),
  TypeHigh: bits(11, 9),
  HPTDID: bits(31, 16),
  AM: bits(69, 64),
  IH: bits(71, 70),
  ADDR: address(127, 76),
})

/** [VTD 6.5.2.8 Interrupt Entry Cache Invalidate Descriptor] */
export const INTERRUPT_ENTRY_CACHE_INVALIDATE = layout('interrupt entry cache invalidate', 128, {
  TypeLow: bits(3, 0),
  G: bit(4),
  TypeHigh: bits(11, 9),
  IM: bits(31, 27),
  IIDX: bits(47, 32),
})

/** [VTD 6.5.2.9 Invalidation Wait Descriptor] */
export const INVALIDATION_WAIT = layout('invalidation wait', 128, {
  TypeLow: bits(3, 0),
  IF: bit(4),
  SW: bit(5),
  FN: bit(6),
  PD: bit(7),
  TypeHigh: bits(11, 9),
  STDATA: bits(63, 32),
  STADDR: address(127, 66),
})

/** [VTD 7.6.1 Page Group Response Descriptor] */
export const PAGE_GROUP_RESPONSE = layout('page group response', 128, {
  TypeLow: bits(3, 0),
  PP: bit(4),
  TypeHigh: bits(11, 9),
  RC: bits(15, 12),
  RID: bits(31, 16),
  PASID: bits(51, 32),
  Ignored66: bit(66),
  PRGI: bits(75, 67),
})

/** `G` of the context-cache, IOTLB and register forms. */
export const GRANULARITY = { GLOBAL: 1, DOMAIN: 2, SELECTIVE: 3 } as const

/** `G` of `PASID_CACHE_INVALIDATE`. */
export const PASID_CACHE_GRANULARITY = { DOMAIN: 0, PASID: 1, GLOBAL: 3 } as const

/** `G` of `PASID_IOTLB_INVALIDATE`. */
export const PASID_IOTLB_GRANULARITY = { PASID: 2, PAGE: 3 } as const
