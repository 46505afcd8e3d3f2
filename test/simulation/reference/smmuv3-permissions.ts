/** What the descriptors of each stage allow, at the privilege of the access. [Arm D8.4 Memory access control] */

import { field } from './memory.js'
import type { Job, Rights } from './smmuv3-types.js'

/** Rights, and the bits that hardware changes in the leaf before a write may use them. */
export interface Grant extends Rights {
  readonly dirty: bigint
}

/** How the dirty state of one stage is managed. */
export interface Hardware {
  readonly access: boolean
  readonly dirty: boolean
}

const DBM = 51

/** Effective HA and HD: HD without HA is as if both were 0. [SMMU 5.4 Context Descriptor, HA] */
export const hardwareOf = (ha: number, hd: number): Hardware => ({ access: ha === 1, dirty: ha === 1 && hd === 1 })

/** The part of a CD that decides over permissions. */
export interface Controls {
  readonly hardware: Hardware
  readonly wxn: boolean
  readonly pan: boolean
  readonly epan: boolean
}

/**
 * Stage 1. `tables` are the attributes gathered from the table descriptors, in bits 63:59, or 0 where they do not count.
 * [Arm D8.4.1 Direct permissions] [SMMU 13.4.1 Stage 1 page permissions]
 */
export function stage1Rights(leaf: bigint, tables: bigint, controls: Controls, job: Job): Grant {
  // AP[2] = 1 with DBM = 1 is writable-clean, which counts as writable. [SMMU 3.13.3 Dirty state hardware update]
  const isReadOnly = field(leaf, 7) === 1
  const isClean = isReadOnly && controls.hardware.dirty && field(leaf, DBM) === 1
  // APTable[1] takes every write away, and what it took no dirty state gives back.
  const writable = (!isReadOnly || isClean) && field(tables, 62) === 0
  const dirty = isClean ? 1n << 7n : 0n
  const { wxn } = controls
  const xn = field(leaf, 54) === 1 || field(tables, 60) === 1
  // One privilege level: AP[1], APTable[0] and PXN do not count. [SMMU 5.4.1 CD notes]
  if (job.world === 'EL2') return { read: true, write: writable, execute: !xn && !(wxn && writable), dirty }

  const userRead = field(leaf, 6) === 1 && field(tables, 61) === 0
  const userWrite = userRead && writable
  const userExecute = !xn && !(wxn && userWrite)
  if (!job.privileged) return { read: userRead, write: userWrite, execute: userExecute, dirty }
  const pxn = field(leaf, 53) === 1 || field(tables, 59) === 1
  // Privileged code never runs what a user can write.
  const execute = !pxn && !userWrite && !(wxn && writable)
  // PAN takes data accesses to what a user can reach; EPAN also to what a user can execute. [SMMU 5.4 CD, PAN, EPAN]
  const never = controls.pan && (userRead || (controls.epan && userExecute))
  if (never) job.met.add(userRead ? 'PAN' : 'EPAN')
  return { read: !never, write: writable && !never, execute, dirty }
}

/** Stage 2: S2AP and XN. [Arm D8.4.3 Stage 2 permissions] */
export function stage2Rights(leaf: bigint, hardware: Hardware, job: Job): Grant {
  const isReadOnly = field(leaf, 7) === 0
  const isClean = isReadOnly && hardware.dirty && field(leaf, DBM) === 1
  return {
    read: field(leaf, 6) === 1,
    write: !isReadOnly || isClean,
    execute: stage2Execute(leaf, job),
    dirty: isClean ? 1n << 7n : 0n,
  }
}

function stage2Execute(leaf: bigint, job: Job): boolean {
  // Without XNX, bit 53 is RES0 and privilege is not looked at. [SMMU 13.4.3 Stage 2]
  if (!job.features.xnx) return field(leaf, 54) === 0
  const xn = field(leaf, 54, 53)
  return xn === 0 || xn === (job.privileged ? 3 : 1)
}
