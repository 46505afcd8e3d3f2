/** Random bytes: the machine's, or a repeatable stream when the daemon was given a seed. */

import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import type { RandomSource } from '../core/ambient.js'

/** The machine's own randomness. */
export const cryptoRandom = (): RandomSource => ({ bytes: (count) => randomBytes(count) })

/**
 * The key stream of AES-256-CTR under a hash of the seed: the same bytes on every machine. Who knows the seed knows
 * every token, so a seed is for test harnesses.
 *
 * @param seed 64 bits
 */
export function seededRandom(seed: bigint): RandomSource {
  const key = createHash('sha256').update(`iommud ${seed}`).digest()
  const stream = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  return { bytes: (count) => stream.update(Buffer.alloc(count)) }
}
