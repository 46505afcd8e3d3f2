/**
 * Tells a story again and again, with its first, second, third … allocation refused, until none is left to refuse. A
 * refused call leaves everything as it was, and asked once more it succeeds; when the story is over nothing is left.
 */

import { Core, HANDLERS, Refusal } from '../../server/core/index.js'
import type { Machine } from '../../server/core/machine.js'
import { createMachine, type MachineOptions } from '../../server/drivers/machine.js'
import { HANDLE_HANDLERS } from '../../server/uapi/index.js'
import { StillClock } from '../core/world.js'
import { type Answer, BUFFER, type Memory } from '../selftest/harness/process.js'

type Method = keyof typeof HANDLERS
type RequestOf<N extends Method> = Omit<Parameters<(typeof HANDLERS)[N]>[1], 'context'>
type ReplyOf<N extends Method> = Awaited<ReturnType<(typeof HANDLERS)[N]>>

/** What a story is told with. */
export interface Teller {
  /** Makes a call, twice if its first try is refused by the injected failure. */
  do<N extends Method>(method: N, request: RequestOf<N>): ReplyOf<N>
  /** A region to map. */
  readonly regionId: number
}

/** What a story of the self-test is told with: a process that makes ioctls. */
export interface Ioctl {
  /** Makes an ioctl, twice if its first try is refused by the injected failure. */
  ioctl(fd: number, cmd: number, arg: Uint8Array, ...memory: readonly Memory[]): Promise<Answer>
  close(fd: number): Promise<number>
  /** What the story begins with is not refused. */
  enable(): void
  /** A descriptor of the region at BUFFER. */
  readonly mfd: number
}

/** How often a story was told, and what was refused. */
export interface Told {
  readonly tellings: number
  readonly refused: ReadonlyMap<string, number>
}

const PEER = { uid: 0 }

/** How the reason of an injected failure begins. */
const INJECTED = 'the test refuses this'

/** The failure that is injected. */
class Injected extends Refusal {}

/** A world whose n-th allocation can be refused. */
export class World {
  readonly #machine: Machine
  readonly #core: Core
  #left = Number.POSITIVE_INFINITY
  #failed: string | undefined
  #token = ''

  constructor(platform: MachineOptions['platform']) {
    const failPoint = (what: string): void => this.#allocate(what)
    const files = {
      roots: [],
      map: (): never => {
        throw new Error('no story maps a file by its path')
      },
    }
    this.#machine = createMachine({ platform, files, failPoint, testDevice: true })
    let counter = 0
    const random = { bytes: (count: number) => Uint8Array.from({ length: count }, () => counter++ & 0xff) }
    this.#core = new Core({ machine: this.#machine, clock: new StillClock(), random, failPoint })
  }

  /** Tells a story until nothing in it is refused any more. */
  tell(story: (teller: Teller) => void): Told {
    const refused = new Map<string, number>()
    // Once without a failure: tables that stay with their device are made then.
    this.#once(story, Number.POSITIVE_INFINITY)
    const resting = this.#held()
    for (let nth = 1; ; nth++) {
      const what = this.#once(story, nth)
      const held = this.#held()
      if (held !== resting) throw new Error(`refusing allocation ${nth} (${what}) left ${held}, not ${resting}`)
      if (what === undefined) return { tellings: nth, refused }
      refused.set(what, (refused.get(what) ?? 0) + 1)
    }
  }

  /** Tells a story of ioctls until nothing in it is refused any more. */
  async tellIoctls(story: (process: Ioctl) => Promise<void>): Promise<Told> {
    const refused = new Map<string, number>()
    await this.#onceIoctls(story, Number.POSITIVE_INFINITY)
    const resting = this.#held()
    for (let nth = 1; ; nth++) {
      const what = await this.#onceIoctls(story, nth)
      const held = this.#held()
      if (held !== resting) throw new Error(`refusing allocation ${nth} (${what}) left ${held}, not ${resting}`)
      if (what === undefined) return { tellings: nth, refused }
      refused.set(what, (refused.get(what) ?? 0) + 1)
    }
  }

  async #onceIoctls(story: (process: Ioctl) => Promise<void>, nth: number): Promise<string | undefined> {
    this.#failed = undefined
    this.#token = this.#open()
    const region = { anonymous: { bytes: REGION_BYTES }, clientAddress: BUFFER, label: '' }
    const { regionId } = this.#call('CreateMemoryRegion', region)
    const mfd = (this.#door('OpenHandle', { regionId }) as { handle: number }).handle
    const enable = (): void => {
      this.#left = nth
    }
    const ioctl = async (fd: number, cmd: number, arg: Uint8Array, ...memory: readonly Memory[]): Promise<Answer> =>
      this.#ioctl({ handle: fd, cmd, arg, memory })
    const close = async (fd: number): Promise<number> => {
      this.#door('CloseHandle', { handle: fd })
      return 0
    }
    await story({ ioctl, close, enable, mfd })
    this.#left = Number.POSITIVE_INFINITY
    if (this.#core.contextOf(this.#token, PEER).end('closed') !== undefined) throw new Error('the end waits')
    const devices = this.#machine.devices.filter(({ driver }) => driver.kind === 'selftest')
    if (devices.length > 0) throw new Error('a test device is left')
    return this.#failed
  }

  #ioctl(request: object): Answer {
    const before = this.#state(true)
    const first = this.#door('Ioctl', request) as unknown as Answer & { refusal?: { reason: string } }
    const isInjected = first.refusal?.reason.startsWith(INJECTED) === true
    if (!isInjected) return { ...first, reason: first.refusal?.reason ?? '' }
    const after = this.#state(true)
    if (after !== before) throw new Error(`an ioctl was refused (${this.#failed}) and changed\n${before}\nto\n${after}`)
    const second = this.#door('Ioctl', request) as unknown as Answer & { refusal?: { reason: string } }
    return { ...second, reason: second.refusal?.reason ?? '' }
  }

  #door(method: keyof typeof HANDLE_HANDLERS, request: object): object {
    const handler = HANDLE_HANDLERS[method]
    const reply: unknown = this.#core.call(PEER, handler as never, { ...request, context: this.#token } as never)
    if (reply instanceof Promise) throw new Error(`${method} did not answer at once`)
    return reply as object
  }

  #allocate(what: string): void {
    if (--this.#left > 0) return
    this.#left = Number.POSITIVE_INFINITY
    this.#failed = what
    throw new Injected('ENOMEM', `${INJECTED} ${what}`)
  }

  /** Answers what was refused. */
  #once(story: (teller: Teller) => void, nth: number): string | undefined {
    this.#left = nth
    this.#failed = undefined
    this.#token = this.#retried(() => this.#open())
    const make = <N extends Method>(method: N, request: RequestOf<N>): ReplyOf<N> => this.#call(method, request)
    const { regionId } = make('CreateMemoryRegion', { anonymous: { bytes: REGION_BYTES }, label: '' })
    story({ do: make, regionId })
    this.#left = Number.POSITIVE_INFINITY
    const ended = this.#core.contextOf(this.#token, PEER).end('closed')
    if (ended !== undefined) throw new Error('the end of the story waits')
    return this.#failed
  }

  #open(): string {
    const opened = this.#core.run(PEER, undefined, HANDLERS.OpenContext, { lifetime: 3, leaseMs: 0, label: '' })
    return (opened as { context: string }).context
  }

  #retried<T>(act: () => T): T {
    try {
      return act()
    } catch (error) {
      if (error instanceof Injected) return act()
      throw error
    }
  }

  #call<N extends Method>(method: N, request: RequestOf<N>): ReplyOf<N> {
    // A replace that fails closes the device's reserved holes where the address space stays the same, as in the kernel.
    const withRanges = method !== 'ReplaceRid'
    const before = this.#state(withRanges)
    const act = (): ReplyOf<N> => {
      const reply: unknown = this.#core.call(
        PEER,
        HANDLERS[method] as never,
        { ...request, context: this.#token } as never,
      )
      if (reply instanceof Promise) throw new Error(`${method} did not answer at once`)
      const { refusal } = reply as { refusal?: { name: string; reason: string } }
      if (refusal !== undefined) throw refusal.name === 'ENOMEM' ? new Injected('ENOMEM', refusal.reason) : refusal
      return reply as ReplyOf<N>
    }
    try {
      return act()
    } catch (error) {
      if (!(error instanceof Injected)) throw error
      const after = this.#state(withRanges)
      if (after !== before)
        throw new Error(`${method} was refused (${this.#failed}) and changed\n${before}\nto\n${after}`)
      return act()
    }
  }

  /** Ids, users, who holds whom, what is mapped and charged. */
  #state(withRanges: boolean): string {
    const context = this.#core.contextOf(this.#token, PEER)
    const objects = [...context.objects.ascending()].map((object) => {
      const { id, kind, users, facts } = object
      const ranges =
        withRanges && 'reserved' in object ? (object as { reserved: { merged: unknown } }).reserved.merged : []
      return { id, kind, users, facts, holds: object.holds.map((held) => held.id), ranges }
    })
    const { inUse } = context.quota
    const regions = context.regions.all.map(({ id }) => id)
    const state = { objects, inUse, regions, bound: this.#core.bound.size, tables: this.#held() }
    return JSON.stringify(state, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value), 1)
  }

  /** Bytes of the drivers' tables. */
  #held(): number {
    const ram = this.#machine.units
      .map(({ driver }) => (driver as unknown as { ram?: { usedBytes: number } }).ram?.usedBytes)
      .find((bytes) => bytes !== undefined)
    if (ram === undefined) throw new Error('no unit of the world tells what its tables hold')
    return ram
  }
}

/** Bytes of the story's region. */
export const REGION_BYTES = 0x40_0000n
