/** Calls about the daemon itself, and about time. They need no context. */

import type { Call } from './call.js'
import { type LimitInfo, listLimits } from './limits.js'
import { Refusal } from './refusal.js'
import { type NamedRegister, namedRegisters, UNIT_TYPE } from './unit-calls.js'

/** Kernel whose recorded answers the object model was compared with. */
const UAPI_VERSION = '7.2.13'

/** The contract's PlatformUnit. */
export interface UnitInfo {
  readonly name: string
  /** 0 for the self-test unit. */
  readonly type: 0 | 1 | 2
  readonly idRegisters: readonly NamedRegister[]
  readonly deviceNames: readonly string[]
}

/** The contract's GetServerInfoResponse. */
export interface ServerInfo {
  readonly version: string
  readonly bootId: string
  readonly uptimeMs: bigint
  readonly strict: boolean
  readonly manualClock: boolean
  readonly seed: bigint
  readonly limits: readonly LimitInfo[]
  readonly features: readonly string[]
  readonly units: readonly UnitInfo[]
  readonly fileRoots: readonly string[]
  readonly uapiVersion: string
  readonly autoIovaAlignment: bigint
}

/** The daemon's version, boot, limits, features and platform. */
export function getServerInfo(call: Call, _request: object): ServerInfo {
  const { bootId, clock, startedAt, limits, machine, facts, autoIovaAlignment } = call.core
  return {
    ...facts,
    bootId,
    uptimeMs: BigInt(Math.floor(clock.now() - startedAt)),
    limits: listLimits(limits),
    fileRoots: machine.fileRoots,
    uapiVersion: UAPI_VERSION,
    autoIovaAlignment,
    units: machine.units.map(({ driver, idRegisters }) => ({
      name: driver.name,
      type: UNIT_TYPES[driver.kind],
      idRegisters: namedRegisters(idRegisters),
      // Test devices are objects of the contexts that made them.
      deviceNames: machine.devices
        .filter((device) => device.driver === driver && driver.kind !== 'selftest')
        .map(({ name }) => name),
    })),
  }
}

const UNIT_TYPES = { smmuv3: UNIT_TYPE.SMMUV3, vtd: UNIT_TYPE.VTD, selftest: 0 } as const

/** Lets time pass under a manual clock. */
export async function advanceClock(call: Call, request: { readonly advanceMs: bigint }): Promise<{ nowMs: bigint }> {
  const { clock, startedAt } = call.core
  if (clock.advance === undefined) {
    if (call.peer.admin === true) throw new Refusal('EINVAL', 'the clock is not manual; start with --clock manual')
    throw new Refusal('EPERM', 'time passes by itself; only a daemon started with --clock manual can be told')
  }
  await clock.advance(Number(request.advanceMs))
  return { nowMs: BigInt(Math.floor(clock.now() - startedAt)) }
}
