/** What software may ask the caches to drop, and how the queue and the registers say it. [VTD 6.5.1, 6.5.2] */

/** How much. [VTD 6.5.2.1, 6.5.2.3] */
export const G = { GLOBAL: 1n, DOMAIN: 2n, SELECTIVE: 3n } as const

/** An invalidation as the two words of a descriptor; the upper half of a wide one is zero. */
export type Descriptor = readonly bigint[]

const word = (type: number, g: bigint, did = 0): bigint => BigInt(type) | (g << 4n) | (BigInt(did) << 16n)

/** DW and DR. */
const DRAINS = 3n << 6n

const page = (address: bigint, am: number, ih: boolean): bigint =>
  ((address >> 12n) << 12n) | BigInt(am) | (ih ? 1n << 6n : 0n)

/** The descriptors, one for each form. */
export const DESCRIPTORS = {
  contextGlobal: (): Descriptor => [word(1, G.GLOBAL), 0n],
  contextDomain: (did: number): Descriptor => [word(1, G.DOMAIN, did), 0n],
  contextDevice: (did: number, sid: number, fm: number): Descriptor => [
    word(1, G.SELECTIVE, did) | (BigInt(sid) << 32n) | (BigInt(fm) << 48n),
    0n,
  ],
  iotlbGlobal: (): Descriptor => [word(2, G.GLOBAL) | DRAINS, 0n],
  iotlbDomain: (did: number): Descriptor => [word(2, G.DOMAIN, did) | DRAINS, 0n],
  iotlbPage: (did: number, address: bigint, am: number, ih: boolean): Descriptor => [
    word(2, G.SELECTIVE, did) | DRAINS,
    page(address, am, ih),
  ],
  pasidIotlb: (did: number, pasid: number): Descriptor => [word(6, G.DOMAIN, did) | (BigInt(pasid) << 32n), 0n],
  pasidIotlbPage: (did: number, pasid: number, address: bigint, am: number, ih: boolean): Descriptor => [
    word(6, G.SELECTIVE, did) | (BigInt(pasid) << 32n),
    page(address, am, ih),
  ],
  pasidCacheDomain: (did: number): Descriptor => [word(7, 0n, did), 0n],
  pasidCache: (did: number, pasid: number): Descriptor => [word(7, 1n, did) | (BigInt(pasid) << 32n), 0n],
  pasidCacheGlobal: (): Descriptor => [word(7, 3n), 0n],
  deviceTlb: (sid: number, address: bigint, isLarge: boolean): Descriptor => [
    3n | (BigInt(sid) << 32n),
    ((address >> 12n) << 12n) | (isLarge ? 1n : 0n),
  ],
  pasidDeviceTlb: (sid: number, pasid: number, address: bigint, isLarge: boolean): Descriptor => [
    8n | (BigInt(sid) << 16n) | (BigInt(pasid) << 32n),
    ((address >> 12n) << 12n) | (isLarge ? 1n << 11n : 0n),
  ],
} as const

/** Flags of a wait descriptor. [VTD 6.5.2.9 Invalidation Wait Descriptor] */
export const WAIT = { IF: 1n << 4n, SW: 1n << 5n, FN: 1n << 6n, PD: 1n << 7n } as const

/** A wait descriptor. */
export const wait = (flags: bigint, data: number, address: number): Descriptor => [
  5n | flags | (BigInt(data) << 32n),
  BigInt(address),
]
