/**
 * Contexts whose lease ran out, remembered for a while, so that a program that was stopped in a debugger is told what
 * became of its context. Only a hash of each token is kept; whoever has the token can ask for its context alone.
 */

/** How many are remembered, the latest; an entry costs about 100 bytes. One user's contexts, four times over. */
const KEPT = 1024

/** What is told of one. */
export interface EndedLease {
  readonly number: bigint
  readonly uid: number
  readonly leaseMs: number
  /** By the daemon's clock. */
  readonly endedAt: number
}

/** The latest contexts that ended because their lease ran out. */
export class EndedLeases {
  readonly #byHash = new Map<string, EndedLease>()

  /** Remembers one, and forgets the oldest if there are too many. */
  add(token: string, ended: EndedLease): void {
    this.#byHash.set(hashOf(token), ended)
    if (this.#byHash.size <= KEPT) return
    const [oldest] = this.#byHash.keys()
    this.#byHash.delete(oldest)
  }

  /** The one that had a token, if it was this user's. */
  find(token: string, uid: number): EndedLease | undefined {
    const found = this.#byHash.get(hashOf(token))
    return found?.uid === uid ? found : undefined
  }
}

/**
 * 64 bits of a token's 128 random ones, mixed: enough that no two remembered tokens meet, too few to make the token of.
 * [FNV-1a, two lanes]
 */
function hashOf(token: string): string {
  let a = 0x811c9dc5
  let b = 0x01000193
  for (let at = 0; at < token.length; at++) {
    a = Math.imul(a ^ token.charCodeAt(at), 0x01000193)
    b = Math.imul(b ^ token.charCodeAt(at), 0x5bd1e995) ^ (a >>> 15)
  }
  return `${a >>> 0}.${b >>> 0}`
}
