/** What each configuration command drops, and what it leaves. [SMMU 4.3 Configuration structure invalidation commands] */

import { describe, expect, it } from 'vitest'
import { Guest } from './guest.js'
import { World } from './tables.js'

const VA = 0x1000n
const TABLE = 0x6000_0000n
const LEAVES = 0x6100_0000n

/** What a test asks after: a stream, and a SubstreamID. */
type Who = readonly [sid: number, ssid?: number]

/** Streams 4..7 and 20 with one CD each; streams 1 and 2 with two-level tables of 128 CDs, of which 0, 1 and 64 are good. */
class Configured extends World {
  readonly #asked: readonly Who[] = [[1, 1], [1, 2], [1, 65], [2, 1], [4], [5], [6], [7], [20]]
  readonly #contexts: bigint[] = []

  constructor() {
    super(0b101)
    this.one.set(VA, 3, 0x5000_0f47n)
    for (const sid of [1, 2]) {
      const table = TABLE + BigInt(sid) * 0x1000n
      const leaves = LEAVES + BigInt(sid) * 0x2_0000n
      this.store(table, leaves | 1n, (leaves + 0x1000n) | 1n)
      for (const index of [1n, 2n]) this.#context(leaves + index * 64n)
      this.#context(leaves + 0x1000n + 64n)
      this.storeSte(sid, (7n << 59n) | table | 0x1bn, 0xd4n, 5n)
    }
    for (const sid of [4, 5, 6, 7, 20]) {
      const cd = this.alloc()
      this.#context(cd)
      this.storeSte(sid, cd | 0xbn, 0xd4n, 5n)
    }
    this.forget()
    for (const [sid, ssid] of this.#asked) {
      if (this.read(VA, { sid, ssid }) === 'abort') throw new Error(`stream ${sid} ${this.events()}`)
    }
  }

  #context(at: bigint): void {
    this.store(at, ...this.cd)
    this.#contexts.push(at)
  }

  /** Has every CD gone, and answers who notices after a command. */
  noticeCds(...command: readonly bigint[]): string[] {
    for (const at of this.#contexts) this.store(at, 0n)
    return this.#noticed(command)
  }

  /** Has every STE gone. */
  noticeStes(...command: readonly bigint[]): string[] {
    for (const [sid] of this.#asked) this.storeSte(sid, 0n)
    return this.#noticed(command)
  }

  /** Has every first level CD descriptor gone, and CDs that were dropped be good still. */
  noticeL1(...command: readonly bigint[]): string[] {
    for (const sid of [1n, 2n]) this.store(TABLE + sid * 0x1000n, 0n, 0n)
    return this.#noticed(command)
  }

  #noticed(command: readonly bigint[]): string[] {
    this.command(...command, 0x46n, 0n)
    const all = this.#asked.filter(([sid, ssid]) => this.read(VA, { sid, ssid }) === 'abort')
    return all.map((who) => who.join('.'))
  }
}

const sid = (n: bigint): bigint => n << 32n
const ssid = (n: bigint): bigint => n << 12n
const EVERYBODY = ['1.1', '1.2', '1.65', '2.1', '4', '5', '6', '7', '20']

describe('what is cached of configuration', () => {
  it('answers until a command drops it', () => {
    expect(new Configured().noticeStes()).toEqual([])
    expect(new Configured().noticeCds()).toEqual([])
  })

  it('is nothing that a TLB invalidation drops', () => {
    expect(new Configured().noticeStes(0x30n, 0n, 0x10n | sid(5n), 0n)).toEqual([])
    expect(new Configured().noticeCds(0x30n, 0n, 0x28n | sid(5n), 0n)).toEqual([])
  })
})

describe('CMD_CFGI_STE', () => {
  it('drops the STE of one stream', () => {
    expect(new Configured().noticeStes(0x03n | sid(5n), 1n)).toEqual(['5'])
    expect(new Configured().noticeStes(0x03n | sid(5n), 0n)).toEqual(['5'])
  })
  it('drops every CD that came through it', () => {
    expect(new Configured().noticeCds(0x03n | sid(1n), 1n)).toEqual(['1.1', '1.2', '1.65'])
  })
  it('drops every first level CD descriptor that came through it', () => {
    expect(new Configured().noticeL1(0x03n | sid(1n), 1n)).toEqual(['1.1', '1.2', '1.65'])
  })
  it('of a StreamID that nobody can have does nothing', () => {
    expect(new Configured().noticeStes(0x03n | sid(0xffff_ffffn), 0n)).toEqual([])
  })
})

describe('CMD_CFGI_STE_RANGE', () => {
  it('drops the aligned 2^(Range+1) streams around one', () => {
    expect(new Configured().noticeStes(0x04n | sid(5n), 0n)).toEqual(['4', '5'])
    expect(new Configured().noticeStes(0x04n | sid(7n), 1n)).toEqual(['4', '5', '6', '7'])
    expect(new Configured().noticeStes(0x04n | sid(7n), 2n)).toEqual(EVERYBODY.slice(0, -1))
    expect(new Configured().noticeStes(0x04n | sid(16n), 3n)).toEqual(['20'])
    expect(new Configured().noticeStes(0x04n | sid(63n), 30n)).toEqual(EVERYBODY)
  })
  it('drops their CDs', () => {
    expect(new Configured().noticeCds(0x04n | sid(3n), 0n)).toEqual(['2.1'])
  })
  it('of 31 is CMD_CFGI_ALL, which has no StreamID', () => {
    expect(new Configured().noticeStes(0x04n | sid(63n), 31n)).toEqual(EVERYBODY)
    expect(new Configured().noticeCds(0x04n, 31n)).toEqual(EVERYBODY)
  })
})

describe('CMD_CFGI_CD', () => {
  it('drops one CD of one stream', () => {
    expect(new Configured().noticeCds(0x05n | sid(1n) | ssid(1n), 1n)).toEqual(['1.1'])
    expect(new Configured().noticeCds(0x05n | sid(1n) | ssid(65n), 0n)).toEqual(['1.65'])
  })
  it('of SubstreamID 0 drops the CD of a stream without SubstreamIDs', () => {
    expect(new Configured().noticeCds(0x05n | sid(4n), 1n)).toEqual(['4'])
  })
  it('drops the first level descriptor too without Leaf', () => {
    expect(new Configured().noticeL1(0x05n | sid(1n) | ssid(1n), 0n)).toContain('1.1')
    expect(new Configured().noticeL1(0x05n | sid(1n) | ssid(1n), 0n)).not.toContain('2.1')
  })
  it('leaves STEs', () => {
    expect(new Configured().noticeStes(0x05n | sid(4n), 0n)).toEqual([])
  })
})

describe('CMD_CFGI_CD_ALL', () => {
  it('drops every CD of a stream, and no other', () => {
    expect(new Configured().noticeCds(0x06n | sid(1n), 0n)).toEqual(['1.1', '1.2', '1.65'])
    expect(new Configured().noticeL1(0x06n | sid(2n), 0n)).toEqual(['2.1'])
    expect(new Configured().noticeStes(0x06n | sid(1n), 0n)).toEqual([])
  })
})

describe('a prefetch', () => {
  it('records nothing, whatever it meets', () => {
    const g = new Guest()
    g.command(0x01n | sid(0xffffn), 0n, 0x02n | sid(3n), 0x1000n, 0x02n | sid(0x10n) | (5n << 12n) | (1n << 11n), 0x1fn)
    expect([g.events(), g.get32(0x60), g.get32(0x9c)]).toEqual([[], 0, 3])
  })
})
