/** Transactions that the unit holds, and what software answers. [SMMU 3.12.2 Stall model] */

import { STATUS } from '../../hw-model/port.js'
import type { Driver } from './guest-smmuv3-driver.js'
import type { SmmuAccess, SmmuEnd } from './reference/smmuv3-types.js'
import type { Rng } from './rng.js'
import { Disagreement } from './step.js'

/** One of them. */
interface Held {
  readonly access: SmmuAccess
  readonly tag: number
  readonly stag: bigint
}

const OP = { RESUME: 0x44n, STALL_TERM: 0x45n } as const

/** Keeps them. */
export class HeldTransactions {
  readonly #rng: Rng
  readonly #driver: Driver
  readonly #abortOnly: boolean
  #held: Held[] = []

  constructor(rng: Rng, driver: Driver, abortOnly: boolean) {
    this.#rng = rng
    this.#driver = driver
    this.#abortOnly = abortOnly
  }

  get count(): number {
    return this.#held.length
  }

  /** A transaction is held, as this record says. */
  hold(access: SmmuAccess, tag: number, record: readonly bigint[]): void {
    const stag = record[1] & 0xffffn
    const isUsed = this.#held.some(
      (other) => other.tag === tag || (other.stag === stag && other.access.sid === access.sid),
    )
    if (isUsed) throw new Disagreement(`tag ${tag} or STAG ${stag} names a transaction that is still held`)
    this.#held.push({ access, tag, stag })
  }

  /** One that is to be tried again; the caller sends the command, for the answer is a new one. */
  takeForRetry(): { readonly access: SmmuAccess; readonly tag: number; readonly retry: () => void } {
    const held = this.#held.splice(this.#rng.int(this.#held.length), 1)[0]
    const { access, tag, stag } = held
    const flags = (1n << 12n) | (this.#rng.bit() << 13n)
    return { access, tag, retry: () => this.#driver.command(OP.RESUME | flags | (BigInt(access.sid) << 32n), stag) }
  }

  /** Ends one, or all of a stream, or all; answers what was done. */
  terminate(): string {
    const rng = this.#rng
    const held = rng.pick(this.#held)
    const sid = BigInt(held.access.sid) << 32n
    const how = rng.int(8)
    if (how === 0) {
      this.#driver.restart()
      this.#end(() => true, 'abort')
      return 'SMMUEN = 0 while transactions are held'
    }
    if (how < 3) {
      this.#driver.command(OP.STALL_TERM | sid, 0n)
      this.#end(({ access }) => access.sid === held.access.sid, 'abort')
      return 'STALL_TERM'
    }
    const aborts = rng.bit()
    this.#driver.command(OP.RESUME | (aborts << 13n) | sid, held.stag)
    // Without RAZ/WI every end is an abort. [SMMU 4.7.1 CMD_RESUME]
    this.#end((other) => other === held, aborts === 1n || this.#abortOnly ? 'abort' : 'razWi')
    return 'RESUME, terminate'
  }

  /** Names what is not held; nothing may come of it. */
  miss(): void {
    const rng = this.#rng
    const held = rng.pick(this.#held)
    const isStag = rng.chance(0.5)
    const stag = isStag ? held.stag ^ (1n << BigInt(rng.int(16))) : held.stag
    const sid = BigInt(isStag ? held.access.sid : held.access.sid ^ (1 << rng.int(10)))
    const isHeld = this.#held.some((other) => other.stag === stag && BigInt(other.access.sid) === sid)
    if (isHeld) return
    this.#driver.command(OP.RESUME | (rng.bits(2) << 12n) | (sid << 32n), stag)
    this.#end(() => false, 'abort')
  }

  /** What must have ended has, and nothing else. */
  #end(isMeant: (held: Held) => boolean, end: SmmuEnd['end']): void {
    const meant = this.#held.filter(isMeant)
    this.#held = this.#held.filter((held) => !isMeant(held))
    const ended = this.#driver.ended.splice(0)
    for (const { tag } of meant) {
      const at = ended.findIndex((other) => other.tag === tag)
      const status = at < 0 ? undefined : ended.splice(at, 1)[0].outcome.status
      const isRight = end === 'razWi' ? status === STATUS.RAZ_WI : status === STATUS.ABORTED
      if (!isRight) throw new Disagreement(`the held transaction ${tag} is to end with ${end}, and status is ${status}`)
    }
    if (ended.length > 0) throw new Disagreement(`a transaction ended that nobody answered: ${ended[0].tag}`)
    const events = this.#driver.takeEvents()
    if (events.length > 0) throw new Disagreement('the end of a held transaction is recorded')
  }
}
