/**
 * One small scenario for each quirk, with the manual's answer spelled by hand. A reference that gives this answer has lost
 * the quirk, and the excuse goes with it; a unit of ours that gives another one is wrong.
 */

import { DESCRIPTORS } from './descriptors.js'
import { AT, DID, OUTPUT, type Probe, SLOT, VA } from './probe-stage.js'

const FPD = 1n << 1n

/** Records of a write: F in bit 127, FR in [103:96], SID in [79:64]. [VTD 11.4.7.6 Fault Recording Registers] */
const of8 = (reason: bigint): { record: readonly bigint[] } => ({
  record: [VA, 0x8000_0000_0000_0008n | (reason << 32n)],
})

/** Of reasons and records. */
const RECORDS: readonly Probe[] = [
  {
    quirk: 'TABLE_CODES',
    variant: 'FIRST',
    isScalable: true,
    set: (stage) => stage.flip(stage.scalableContext, 1n),
    manual: of8(0x41n),
  },
  {
    quirk: 'SECOND_CODES',
    variant: 'SECOND',
    isScalable: true,
    set: (stage) => stage.ram.set(SLOT.LEAF, 0n),
    manual: of8(0x79n),
  },
  {
    quirk: 'INTERRUPT_CODE',
    variant: 'SECOND',
    set: (stage) => stage.ram.set(SLOT.LEAF, 0xfee00003n),
    manual: of8(0x0en),
  },
  {
    quirk: 'RIGHTS_FIRST',
    variant: 'LEGACY',
    // Readable only, and an address beyond the host's.
    set: (stage) => stage.ram.set(SLOT.LEAF, (1n << 50n) | 1n),
    manual: of8(0x0cn),
  },
  {
    quirk: 'PASID_ORDER',
    variant: 'FIRST',
    isScalable: true,
    set: (stage) => stage.ram.set(AT.PASID, 0n),
    manual: of8(0x59n),
  },
  {
    quirk: 'ALL_ONES',
    variant: 'LEGACY',
    set: (stage) => stage.ram.set(SLOT.LEAF, 2n ** 64n - 1n),
    manual: of8(0x0cn),
  },
  {
    quirk: 'FI_ABOVE_48',
    variant: 'LEGACY',
    act: (stage) => stage.write(VA | (1n << 50n)),
    manual: of8(0x04n),
  },
  {
    quirk: 'FI_ABOVE_39',
    variant: 'NARROW',
    act: (stage) => stage.write(VA | (1n << 45n)),
    manual: of8(0x04n),
  },
  {
    quirk: 'FPD_BELOW',
    variant: 'FIRST',
    isScalable: true,
    set: (stage) => stage.flip(AT.PASID, FPD | 1n),
    manual: 'abort',
  },
  {
    quirk: 'CONTEXT_FPD',
    variant: 'LEGACY',
    set: (stage) => stage.flip(stage.legacyContext, FPD | (1n << 5n)),
    manual: 'abort',
  },
]

/** Of configuration. */
const ENTRIES: readonly Probe[] = [
  {
    quirk: 'CONTEXT_RESERVED',
    variant: 'FIRST',
    isScalable: true,
    // DTE, and ECAP.DT is 0.
    set: (stage) => stage.flip(stage.scalableContext, 1n << 2n),
    manual: of8(0x42n),
  },
  {
    quirk: 'CONTEXT_VALID',
    variant: 'SHARED',
    isScalable: true,
    // PRE, and DTE is 0.
    set: (stage) => stage.flip(stage.scalableContext, 1n << 4n),
    manual: of8(0x43n),
  },
  {
    quirk: 'ROOT_HALF',
    variant: 'FIRST',
    isScalable: true,
    set: (stage) => stage.ram.set(AT.ROOT + 8, 0x500n),
    manual: { ok: OUTPUT },
  },
  {
    quirk: 'PASID_RESERVED',
    variant: 'FIRST',
    isScalable: true,
    set: (stage) => stage.flip(AT.PASID, 1n << 5n),
    manual: of8(0x5an),
  },
  {
    quirk: 'PASID_PRESENT',
    variant: 'FIRST',
    isScalable: true,
    act: (stage) => {
      stage.write()
      stage.flip(AT.PASID, 1n)
      stage.run(DESCRIPTORS.pasidCache(DID, 0), DESCRIPTORS.pasidIotlb(DID, 0))
      stage.pair.excuse('PASID_PRESENT')
      stage.write()
    },
    manual: of8(0x59n),
  },
  {
    quirk: 'FIRST_WIDTH',
    variant: 'FIRST',
    isScalable: true,
    set: (stage) => {
      // AW of 39 bits, and the tables serve the upper half too.
      stage.flip(AT.PASID, 3n << 2n)
      stage.ram.set(SLOT.ROOT + 8 * 256, stage.ram.get(SLOT.ROOT))
    },
    act: (stage) => stage.write(VA | 0xffff_8000_0000_0000n),
    manual: { ok: OUTPUT },
  },
  {
    quirk: 'MODE',
    variant: 'LEGACY',
    set: (stage) => {
      stage.ttm = 1
    },
    manual: of8(0x30n),
  },
]

/** Of walks and what is kept of them. */
const WALKS: readonly Probe[] = [
  {
    quirk: 'FLAGS',
    variant: 'FIRST',
    isScalable: true,
    set: (stage) => stage.flip(SLOT.LEAF, 1n << 5n),
    manual: of8(0x90n),
  },
  {
    quirk: 'SNOOP',
    variant: 'FIRST',
    set: (stage) => stage.flip(SLOT.LEAF, 1n << 11n),
    manual: of8(0x0cn),
  },
  {
    quirk: 'PASS_WIDTH',
    variant: 'LEGACY',
    set: (stage) => stage.flip(stage.legacyContext, 2n << 2n),
    act: (stage) => stage.write(VA | (1n << 50n)),
    manual: of8(0x04n),
  },
  {
    quirk: 'CACHED_DENIAL',
    variant: 'LEGACY',
    set: (stage) => stage.flip(SLOT.LEAF, 2n),
    act: (stage) => {
      stage.read()
      stage.write(VA, 1)
    },
    manual: { record: [VA, 0x8000_0005_0000_0010n] },
  },
  {
    quirk: 'IOTLB_ADDRESS',
    variant: 'LEGACY',
    act: (stage) => {
      stage.write()
      stage.flip(SLOT.LEAF, 0x1000n)
      stage.run(DESCRIPTORS.iotlbPage(DID, VA | (1n << 50n), 0, false))
      stage.pair.excuse('IOTLB_ADDRESS')
      stage.write()
    },
    manual: { ok: OUTPUT ^ 0x1000 },
  },
]

/** Of the queue. */
const QUEUES: readonly Probe[] = [
  {
    quirk: 'PASID_RANGE',
    variant: 'FIRST',
    isScalable: true,
    act: (stage) => {
      stage.ask(DESCRIPTORS.pasidIotlbPage(DID, 0, VA, 20, false))
    },
    manual: 'goes on',
  },
  {
    quirk: 'DESCRIPTOR_TAKEN',
    variant: 'LEGACY',
    // A device-TLB invalidation, and ECAP.DT is 0.
    act: (stage) => stage.ask([3n | (8n << 32n), 0n]),
    manual: 'stops',
  },
  {
    quirk: 'WAIT_IDLE',
    variant: 'LEGACY',
    act: (stage) => stage.ask([5n, 0n]),
    manual: 'goes on',
  },
]

/** In the order in which they are made. */
export const PROBES: readonly Probe[] = [...RECORDS, ...ENTRIES, ...WALKS, ...QUEUES]
