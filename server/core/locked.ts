/**
 * Who pays for pinned memory: the user who mapped it or, where RLIMIT_MODE is 1, his process, each up to the limit
 * `locked_bytes`, which is RLIMIT_MEMLOCK here. Who may lock without a limit pays nothing. [uAPI IOMMU_OPTION_RLIMIT_MODE]
 */

import type { Peer } from './ambient.js'
import type { Limits } from './limits.js'
import { assert, Refusal } from './refusal.js'

/** Who pays; the numbers of USER and PROCESS are RLIMIT_MODE's. */
export const ACCOUNT_MODE = { USER: 0, PROCESS: 1, NONE: 2 } as const

/** One of ACCOUNT_MODE. */
export type AccountMode = (typeof ACCOUNT_MODE)[keyof typeof ACCOUNT_MODE]

/**
 * Whether a caller may do what needs a capability of root: lock memory without a limit (CAP_IPC_LOCK) and choose who
 * pays for it (CAP_SYS_RESOURCE). Root may, and whoever comes through the administrator's door.
 */
export const isPrivileged = ({ uid, admin }: Peer): boolean => uid === 0 || admin === true

/** A caller as the one who pays. */
export interface Payer {
  readonly uid: number
  /** Names his process among those of all users. */
  readonly process: string
}

/** A caller's process: the one at the other end of the socket or, where none is known, the context itself. */
export const payerOf = ({ uid, pid }: Peer, contextNumber: bigint): Payer => ({
  uid,
  process: pid === undefined ? `context ${contextNumber}` : `process ${pid} of user ${uid}`,
})

/** How much each user and each process has locked. */
export class LockedMemory {
  readonly #limits: Limits
  readonly #failPoint: ((what: string) => void) | undefined
  readonly #used = new Map<string, number>()

  constructor(limits: Limits, failPoint: ((what: string) => void) | undefined) {
    this.#limits = limits
    this.#failPoint = failPoint
  }

  /** Bytes that a payer has locked. */
  used(payer: Payer, mode: AccountMode): number {
    return this.#used.get(keyOf(payer, mode)) ?? 0
  }

  /** @throws Refusal ENOMEM; nothing is charged then */
  charge(payer: Payer, mode: AccountMode, bytes: number): void {
    if (bytes === 0) return
    this.#failPoint?.('locked memory')
    if (mode === ACCOUNT_MODE.NONE) return
    const scope = mode === ACCOUNT_MODE.USER ? 'uid' : 'context'
    const { locked_bytes: limit } = this.#limits[scope]
    const used = this.used(payer, mode)
    if (used + bytes > limit) {
      const whose = mode === ACCOUNT_MODE.USER ? `user ${payer.uid}` : payer.process
      const reason = `the limit locked_bytes of ${whose} is ${limit}, ${used} are pinned and ${bytes} more are needed`
      throw new Refusal('ENOMEM', reason, { limit: 'locked_bytes', scope, value: limit, used, asked: bytes })
    }
    this.#used.set(keyOf(payer, mode), used + bytes)
  }

  /** Gives back what was charged. */
  release(payer: Payer, mode: AccountMode, bytes: number): void {
    if (bytes === 0 || mode === ACCOUNT_MODE.NONE) return
    const left = this.used(payer, mode) - bytes
    assert(left >= 0, 'memory is locked before it is released')
    if (left === 0) this.#used.delete(keyOf(payer, mode))
    else this.#used.set(keyOf(payer, mode), left)
  }

  /** Whether nobody has anything locked, for tests that nothing leaks. */
  get isEmpty(): boolean {
    return this.#used.size === 0
  }
}

const keyOf = ({ uid, process }: Payer, mode: AccountMode): string =>
  mode === ACCOUNT_MODE.USER ? `user ${uid}` : process
