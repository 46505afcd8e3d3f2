/** A core whose every pause happens, and words for stories about it. */

import type { Turn } from '../../server/core/ambient.js'
import { ENDLESS_TURN } from '../../server/core/ambient.js'
import type { HANDLERS } from '../../server/core/index.js'
import { Refusal } from '../../server/core/refusal.js'
import type { FakePaging } from './fake-machine.js'
import { FIXED, RW, World } from './world.js'

export const PAGE = 0x1000n
export const MIB = 2n ** 20n
export const RID = 'arm2'

/** A turn whose budget is always spent: every pause happens, and ends when the test says so. */
export class SpentTurn implements Turn {
  pauses = 0
  #waiting: (() => void)[] = []

  begin(): void {}

  spent(): boolean {
    return true
  }

  next(): Promise<void> {
    this.pauses++
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Everybody who waits goes on to his next pause. */
  async step(times = 1): Promise<void> {
    for (let time = 0; time < times; time++) {
      for (const goOn of this.#waiting.splice(0)) goOn()
      await new Promise((done) => setImmediate(done))
    }
  }

  /** All work goes on to its end. */
  async finish<T>(reply: T | Promise<T>): Promise<T> {
    let isDone = false
    const ended = Promise.resolve(reply).finally(() => {
      isDone = true
    })
    ended.catch(() => undefined)
    // The end of a call may end another one.
    for (let idle = 0; !isDone || idle < 3; idle = this.#waiting.length > 0 ? 0 : idle + 1) await this.step()
    return ended
  }
}

export type Name = keyof typeof HANDLERS

/** Words of a story that is told with and without pauses. */
export class Teller {
  readonly world: World
  readonly answers: unknown[] = []
  readonly #turn: SpentTurn | undefined

  constructor(turn: SpentTurn | undefined, options: ConstructorParameters<typeof World>[0] = {}) {
    this.#turn = turn
    this.world = new World({ turn: turn ?? ENDLESS_TURN, ...options })
  }

  /** Calls, waits, and keeps the answer or the refusal. */
  async ask<N extends Name>(name: N, request: Parameters<World['begin']>[1] = {}): Promise<Record<string, unknown>> {
    try {
      const reply = this.world.begin(name, request as never)
      const answer = (await (this.#turn?.finish(reply) ?? reply)) as Record<string, unknown>
      this.answers.push(answer)
      return answer
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      this.answers.push({ name: error.name, reason: error.message, context: error.context })
      return { refused: error.name }
    }
  }

  /** What can be seen from outside, and what is in the tables. */
  async state(): Promise<unknown> {
    const { machine } = this.world
    const tables = machine.devices.map(({ name, device }) => {
      const { slots } = device as unknown as { slots: Map<number, FakePaging> }
      const mapped = [...slots].map(([slot, { mappings }]) => [slot, mappings])
      return [name, mapped]
    })
    return [await this.ask('ListObjects'), await this.ask('GetContext'), tables, machine.live, machine.memories.length]
  }
}

/** Objects that most stories begin with. A region that is no multiple of a large leaf from its IOVA has many pieces. */
export async function scene({
  world,
}: Teller): Promise<{ ioasId: number; other: number; regionId: number; deviceId: number }> {
  return {
    ioasId: world.ioas(),
    other: world.ioas(),
    regionId: world.region(64n * MIB, 0x7000_0000n),
    deviceId: world.bind(RID),
  }
}

export const mapping = (ioasId: number, regionId: number, iova: bigint, length = 40n * MIB, offset = 0n) => ({
  ioasId,
  region: { regionId, offset },
  length,
  iova,
  flags: RW | FIXED,
})

/** A world that pauses, one device attached to an IOAS, and nothing mapped yet. */
export async function attachedWorld() {
  const turn = new SpentTurn()
  const teller = new Teller(turn)
  const { world } = teller
  const ids = await scene(teller)
  await teller.ask('AttachRid', { deviceId: ids.deviceId, ptId: ids.ioasId })
  const begin = (name: Name, request: Parameters<World['begin']>[1]): Promise<unknown> => {
    const reply = Promise.resolve(world.begin(name, request as never))
    reply.catch(() => undefined)
    return reply
  }
  return { turn, teller, world, begin, ...ids }
}

/** The refusal's name, or `done`. A call that pauses is cut short by nothing: it is not refused. */
export function answer(world: World, name: Name, request: Parameters<World['begin']>[1]): string {
  try {
    const reply = world.begin(name, request as never)
    if (reply instanceof Promise) reply.catch(() => undefined)
    return reply instanceof Promise ? 'goes on' : 'done'
  } catch (error) {
    return (error as Refusal).name
  }
}

/** The same for a call whose first pause comes before its refusal. */
export const outcome = async (turn: SpentTurn, reply: unknown): Promise<string> =>
  turn.finish(reply).then(
    () => 'done',
    (error: Refusal) => error.name,
  )
