/** Drivers that do one thing wrong, made out of the real one by standing between it and its memory. */

import type { Plan } from './run.js'
import type { World } from './story.js'
import { WatchedMemory } from './watched-memory.js'

const COMMAND_WORDS = 4
const OPCODE_SYNC = 0x46

/** How a plan is tampered with. */
export type Tampering = Pick<Plan, 'memory' | 'tamper'>

/** Memory that the driver's stores do not reach as it made them. */
class TamperedMemory extends WatchedMemory {
  world: World | undefined
  /** Commands of this opcode never reach the queue. */
  dropped = -1
  /** Words of an entry are stored in the other order. */
  isReversed = false
  #held: (readonly [pa: number, lo: number, hi: number])[] = []

  override storeRecord(pa: number, words: Int32Array, at: number, count: number): number {
    const isCommand = count === COMMAND_WORDS && this.world?.machine.isCommand(pa) === true
    if (!isCommand) return super.storeRecord(pa, words, at, count)
    this.#release()
    const isDropped = (words[at] & 0xff) === this.dropped
    return super.storeRecord(pa, isDropped ? Int32Array.of(OPCODE_SYNC, 0, 0, 0) : words, isDropped ? 0 : at, count)
  }

  override storeWord(pa: number, lo: number, hi: number): number {
    const holds = this.isReversed && this.world?.onlooker.isEntry === true && !this.world.machine.isQueue(pa)
    if (!holds) return super.storeWord(pa, lo, hi)
    this.#held.push([pa, lo, hi])
    return 0
  }

  #release(): void {
    const held = this.#held.reverse()
    this.#held = []
    for (const [pa, lo, hi] of held) super.storeWord(pa, lo, hi)
  }
}

const memoryOf = (how: { readonly dropped?: number; readonly isReversed?: boolean }): Tampering => ({
  memory: () => Object.assign(new TamperedMemory(), how),
  tamper: (world) => {
    ;(world.machine.memory as TamperedMemory).world = world
  },
})

/** A driver that never gives one kind of command. */
export const dropping = (opcode: number): Tampering => memoryOf({ dropped: opcode })

/** The same on machines for guests, where those commands are given that concern nothing else. */
export const droppingForGuests = (opcode: number): Tampering => {
  const { memory, tamper } = dropping(opcode)
  return {
    memory,
    tamper: (world) => {
      tamper?.(world)
      world.likesGuests = world.machine.facts.stage1 && world.machine.facts.stage2
    },
  }
}

/** A driver that stores an entry's last word first. */
export const reversing = (): Tampering => memoryOf({ isReversed: true })

/** A driver that says of each change that it was hitless. */
export const boasting = (): Tampering => ({
  tamper: ({ machine }) => {
    for (const { ops } of machine.devices) {
      if (ops !== undefined) Object.defineProperty(ops, 'lastSetWasHitless', { get: () => true, set: () => {} })
    }
  },
})

/** A driver whose devices never hear that they are to forget something. */
export const keeping = (): Tampering => ({
  tamper: ({ onlooker }) => {
    Object.assign(onlooker.atc, { invalidate: () => undefined })
  },
})

/** A driver that maps one page beside what it was told. */
export const shifting = (): Tampering => ({
  tamper: ({ machine }) => {
    const { driver } = machine
    const create = driver.createPaging.bind(driver)
    driver.createPaging = (device, flags, data) => {
      const ops = create(device, flags, data)
      const map = ops.map.bind(ops)
      ops.map = (iova, address, length, protection, inPages) =>
        map(iova, address + (iova % 0x8000n === 0n ? 4096 : 0), length, protection, inPages)
      return ops
    }
  },
})
