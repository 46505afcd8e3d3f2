/**
 * ID registers as GetHwInfo tells them, where a platform describes a machine whose registers say more than the emulated
 * unit does: interrupt remapping, which is the host's own and which nothing in the contract can reach.
 */

import type { HwInfo } from '../core/driver.js'

/** Registers by name; the ones that are not there are told as the unit has them. */
export type ReportedRegisters = ReadonlyMap<string, bigint>

/** What the unit has, with what the platform wants told instead. */
export function reportedInfo(info: HwInfo, reported: ReportedRegisters | undefined): HwInfo {
  if (reported === undefined || reported.size === 0) return info
  const word = (name: string, own: number): number => Number(reported.get(name) ?? BigInt(own >>> 0))
  if (info.kind === 'vtd') {
    return { ...info, cap: reported.get('CAP') ?? info.cap, ecap: reported.get('ECAP') ?? info.ecap }
  }
  if (info.kind === 'smmuv3') {
    const idr = info.idr.map((own, at) => word(`IDR${at}`, own))
    return { ...info, idr, iidr: word('IIDR', info.iidr), aidr: word('AIDR', info.aidr) }
  }
  return info
}
