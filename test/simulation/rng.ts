/** Chance from a seed: the same seed gives the same guest on every machine. */

/** A small generator of pseudo-random numbers (sfc32). */
export class Rng {
  #a: number
  #b: number
  #c: number
  #count = 1

  /** @param seeds any integers; different ones give unrelated sequences */
  constructor(...seeds: readonly number[]) {
    this.#a = 0x9e3779b9
    this.#b = 0x243f6a88
    this.#c = 0xb7e15162
    for (const seed of seeds) {
      this.#a ^= seed | 0
      this.#b = (this.#b + Math.floor(seed / 2 ** 32)) | 0
      for (let i = 0; i < 16; i++) this.u32()
    }
  }

  /** 32 random bits, unsigned. */
  u32(): number {
    const sum = (this.#a + this.#b + this.#count++) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    return sum >>> 0
  }

  /** An integer in 0..count-1. */
  int(count: number): number {
    return Math.floor((this.u32() / 2 ** 32) * count)
  }

  /** An integer in low..high, both included. */
  between(low: number, high: number): number {
    return low + this.int(high - low + 1)
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return this.u32() / 2 ** 32 < probability
  }

  /** 1 with this probability, else 0. */
  bit(probability = 0.5): bigint {
    return this.chance(probability) ? 1n : 0n
  }

  /** One of them. */
  pick<T>(choices: readonly T[]): T {
    return choices[this.int(choices.length)]
  }

  /** A number of this many random bits. */
  bits(width: number): bigint {
    let value = 0n
    for (let i = 0; i < width; i += 32) value = (value << 32n) | BigInt(this.u32())
    return value & ((1n << BigInt(width)) - 1n)
  }
}
