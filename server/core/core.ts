/**
 * The object model of iommufd: contexts, and calls that act in them. Every door of the daemon (RPC, ioctl, tests) comes
 * through `call` or `run`.
 */

import {
  type Clock,
  type Connection,
  ENDLESS_TURN,
  type EndReason,
  type EventSink,
  type Peer,
  type RandomSource,
  type ServerFacts,
  type TimeOut,
  type Turn,
} from './ambient.js'
import { BoundDevices } from './bound-devices.js'
import { Call, type Handler } from './call.js'
import { all } from './completion.js'
import { Context, LIFETIME, lifetimeOf } from './context.js'
import { DeviceListener } from './device-listener.js'
import type { Completion, IommuDriver, ViommuOps } from './driver.js'
import { EarlyEnds } from './early-ends.js'
import { EndedLeases } from './ended-leases.js'
import type { Endpoint } from './endpoint.js'
import { DEFAULT_LIMITS, type Limits } from './limits.js'
import { LockedMemory } from './locked.js'
import type { Machine, PlatformUnitInfo } from './machine.js'
import { Quota } from './quota.js'
import { Refusal } from './refusal.js'
import { type KeptStale, StaleBook, type StaleOwner } from './stale-book.js'
import { ownerBehind } from './stale-owner.js'
import { summaryOf } from './stale-reply.js'
import { PAGE } from './u64.js'
import { Unavailable } from './unavailable.js'
import { UnitSettings } from './unit-access.js'
import type { StaleFacts, UnitOracle } from './unit-oracle.js'
import type { Viommu } from './viommu.js'

/** What a core is made of. */
export interface CoreOptions {
  readonly machine: Machine
  readonly clock: Clock
  readonly random: RandomSource
  /** Absent: every call ends in the turn it began in, if no driver makes it wait. */
  readonly turn?: Turn
  readonly limits?: Limits
  /** Largest alignment that a free choice of an IOVA aims for; a power of two, a page where it is absent. */
  readonly autoIovaAlignment?: bigint
  readonly eventSink?: EventSink
  readonly facts?: Partial<ServerFacts>
  /** Called before anything is made; what it throws refuses the call. For tests that let the n-th allocation fail. */
  readonly failPoint?: (what: string) => void
}

/** What OpenContext was asked for. */
export interface OpenSpec {
  /** One of LIFETIME. */
  readonly lifetime: number
  /** Milliseconds, 0 for the default. */
  readonly leaseMs: number
  readonly label: string
}

const TOKEN_BYTES = 16
const TOKEN_FORM = /^([0-9a-f]{32})-[0-9a-f]{32}$/

/** The daemon without its doors. */
export class Core {
  readonly machine: Machine
  readonly clock: Clock
  readonly turn: Turn
  readonly limits: Limits
  readonly facts: ServerFacts
  /**
   * Largest alignment that a free choice of an IOVA aims for. Kernels with transparent huge pages aim for 2 MiB; those
   * whose answers we compare with aim for a page.
   */
  readonly autoIovaAlignment: bigint
  readonly failPoint: ((what: string) => void) | undefined
  /** 128 random bits, hex: names this run. */
  readonly bootId: string
  readonly startedAt: number
  /** Who pays for pinned memory. */
  readonly locked: LockedMemory
  /** Who has bound each platform device. */
  readonly bound = new BoundDevices((driver) => this.unitSettings.check(driver))
  /** What contexts have set of the platform's units. */
  readonly unitSettings = new UnitSettings(this)
  readonly earlyEnds = new EarlyEnds()
  /** Devices whose held requests ended and are not finished: the call under way has caused it. */
  readonly unsettled = new Set<Endpoint>()
  /** What the oracle of each of the platform's units has reported. */
  readonly staleBooks = new Map<IommuDriver, StaleBook>()
  /** Reports since the start, by unit; those of raw units are `raw`. */
  readonly staleCounts = new Map<string, number>()
  /** What each vIOMMU is to its context. */
  readonly viommus = new Map<ViommuOps, Viommu>()
  /** What was not answered in time, since the start. */
  readonly timeOuts: Record<TimeOut['kind'], number> = { 'fault-groups-timed-out': 0, 'device-blocked': 0 }
  readonly #random: RandomSource
  readonly #eventSink: EventSink
  readonly #byToken = new Map<string, Context>()
  readonly #ofUser = new Map<number, Quota>()
  readonly #endedLeases = new EndedLeases()
  #contexts = 0n
  #calls = 0

  constructor(options: CoreOptions) {
    this.machine = options.machine
    this.clock = options.clock
    this.turn = options.turn ?? ENDLESS_TURN
    this.limits = options.limits ?? DEFAULT_LIMITS
    this.autoIovaAlignment = options.autoIovaAlignment ?? PAGE
    this.failPoint = options.failPoint
    this.locked = new LockedMemory(this.limits, this.failPoint)
    this.#random = options.random
    this.#eventSink = options.eventSink ?? (() => {})
    this.bootId = hex(options.random.bytes(TOKEN_BYTES))
    this.startedAt = options.clock.now()
    this.facts = { ...NO_FACTS, ...options.facts }
    const listener = new DeviceListener(this)
    for (const unit of this.machine.units) {
      unit.driver.listener = listener
      this.staleCounts.set(unit.driver.name, 0)
      if (unit.oracle !== undefined) this.staleBooks.set(unit.driver, this.#bookOf(unit, unit.oracle))
    }
  }

  /** Open contexts by ascending number. */
  get contexts(): readonly Context[] {
    return [...this.#byToken.values()]
  }

  /**
   * Answers a call that names its context by `request.context`.
   *
   * @throws Unavailable for a token of an earlier boot
   * @throws Refusal EBADF for a token that is nobody's or another user's
   */
  call<Request extends { readonly context?: string }, Reply>(
    peer: Peer,
    handler: Handler<Request, Reply>,
    request: Request,
  ): Reply | Promise<Reply> {
    return this.run(peer, this.contextOf(request.context ?? '', peer), handler, request)
  }

  /** Answers a call in a context, or (undefined) one that needs none. */
  run<Request, Reply>(
    peer: Peer,
    context: Context | undefined,
    handler: Handler<Request, Reply>,
    request: Request,
  ): Reply | Promise<Reply> {
    const call = new Call(this, peer, context, ++this.#calls)
    context?.enter()
    this.turn.begin()
    let reply: Reply | Promise<Reply>
    try {
      reply = handler(call, request)
    } catch (error) {
      return refused(call, context, error)
    }
    if (reply instanceof Promise) return this.#awaited(call, context, reply)
    const done = call.succeed()
    if (done === undefined) {
      context?.leave()
      return reply
    }
    return done.then(() => reply).finally(() => context?.leave())
  }

  /** The context of a token; an empty one means the connection's own, which the first use opens. */
  contextOf(token: string, peer: Peer): Context {
    if (token === '' && peer.connection !== undefined) return this.#ownContext(peer.connection, peer)
    const context = this.#byToken.get(token)
    if (context !== undefined && context.uid === peer.uid) return context
    const boot = TOKEN_FORM.exec(token)?.[1]
    if (boot !== undefined && boot !== this.bootId) throw new Unavailable()
    if (token === '') throw new Refusal('EBADF', 'the request names no context; OpenContext gives the token for it')
    this.#refuseEnded(token, peer)
    throw new Refusal('EBADF', 'no context of yours has this token; OpenContext gives one')
  }

  /** Opens a context. @throws Refusal EDQUOT, EOPNOTSUPP, EINVAL */
  open(peer: Peer, spec: OpenSpec): Context {
    const { call: limit } = this.limits
    if (spec.label.length > limit.label_length) {
      const facts = { limit: 'label_length', value: limit.label_length }
      throw new Refusal('EINVAL', `a label has at most ${limit.label_length} characters`, facts)
    }
    const lifetime = lifetimeOf(spec.lifetime, peer)
    const leaseMs = lifetime === LIFETIME.LEASE ? this.leaseOf(spec.leaseMs) : noLease(spec.leaseMs)
    const quota = this.#quotaOf(peer.uid)
    this.failPoint?.('context')
    quota.charge('contexts')
    try {
      if (lifetime === LIFETIME.EXPLICIT) quota.charge('explicit_contexts')
    } catch (error) {
      quota.release('contexts')
      throw error
    }
    const token = `${this.bootId}-${hex(this.#random.bytes(TOKEN_BYTES))}`
    const number = ++this.#contexts
    const context = new Context(this, peer, { number, token, lifetime, leaseMs, label: spec.label }, quota)
    this.#byToken.set(token, context)
    if (lifetime === LIFETIME.CONNECTION) peer.connection?.contexts.add(context)
    this.#eventSink({ kind: 'context-opened', context })
    return context
  }

  /** Length of a lease that was asked for, 0 for the default. @throws Refusal EDQUOT */
  leaseOf(asked: number): number {
    const { lease_ms: most, lease_default_ms: usual } = this.limits.call
    if (asked <= most) return asked === 0 ? usual : asked
    const facts = { limit: 'lease_ms', value: most, asked }
    throw new Refusal('EDQUOT', `the limit lease_ms is ${most}; an explicit context has no lease`, facts)
  }

  /** A connection is gone, and with it what was opened to live as long. */
  connectionEnded(connection: Connection): Completion {
    this.turn.begin()
    return all([...connection.contexts].map((context) => context.end('connection')))
  }

  /** Ends every context. */
  shutDown(): Completion {
    this.turn.begin()
    return all(this.contexts.map((context) => context.end('shutdown')))
  }

  /** A context takes no more calls. For `Context`. */
  forget(context: Context, why: EndReason): void {
    const { token, number, uid, leaseMs } = context
    if (why === 'lease') this.#endedLeases.add(token, { number, uid, leaseMs, endedAt: this.clock.now() })
    this.#byToken.delete(context.token)
    context.connection?.contexts.delete(context)
  }

  /** The oracle of a unit has found something. @param unit its name, or `raw` */
  foundStale(unit: string, report: KeptStale, summary: string): void {
    this.staleCounts.set(unit, (this.staleCounts.get(unit) ?? 0) + 1)
    const { context, deviceName, facts } = report
    this.#eventSink({ kind: 'stale-translation', context, unit, deviceName, facts, summary })
  }

  /** Somebody did not answer in time. */
  timedOut(event: TimeOut): void {
    this.timeOuts[event.kind] += event.count
    this.#eventSink(event)
  }

  /** A context has given everything back. For `Context`. */
  ended(context: Context, why: EndReason): void {
    const quota = this.#quotaOf(context.uid)
    quota.release('contexts')
    if (context.lifetime === LIFETIME.EXPLICIT) quota.release('explicit_contexts')
    if (Object.keys(quota.inUse).length === 0) this.#ofUser.delete(context.uid)
    this.#eventSink({ kind: 'context-ended', context, why })
  }

  async #awaited<Reply>(call: Call, context: Context | undefined, reply: Promise<Reply>): Promise<Reply> {
    try {
      const value = await reply
      await call.succeed()
      return value
    } catch (error) {
      await call.fail()
      throw error
    } finally {
      context?.leave()
    }
  }

  #bookOf(unit: PlatformUnitInfo, oracle: UnitOracle): StaleBook {
    const { oracle_reports: most } = this.limits.call
    const ownerOf = (facts: StaleFacts): StaleOwner => ownerBehind(this, unit, facts)
    return new StaleBook(oracle, most, ownerOf, (report) => {
      this.foundStale(unit.driver.name, report, summaryOf(report, oracle))
    })
  }

  #ownContext(connection: Connection, peer: Peer): Context {
    if (connection.own === undefined || connection.own.isEnding) {
      connection.own = this.open(peer, { lifetime: LIFETIME.CONNECTION, leaseMs: 0, label: '' })
    }
    return connection.own
  }

  #refuseEnded(token: string, { uid }: Peer): void {
    const ended = this.#endedLeases.find(token, uid)
    if (ended === undefined) return
    const { number, leaseMs } = ended
    const ago = Math.round(this.clock.now() - ended.endedAt)
    const reason =
      `the lease of context ${number} ran out ${ago} ms ago, ${leaseMs} ms after its last call; ` +
      'open another, renew it in time, or take CONNECTION or EXPLICIT'
    throw new Refusal('EBADF', reason, { context_number: number, lease_ms: leaseMs, ended_ms_ago: ago })
  }

  #quotaOf(uid: number): Quota {
    const known = this.#ofUser.get(uid)
    if (known !== undefined) return known
    const quota = new Quota('uid', this.limits)
    this.#ofUser.set(uid, quota)
    return quota
  }
}

const NO_FACTS: ServerFacts = {
  version: '',
  strict: false,
  manualClock: false,
  seed: 0n,
  features: [],
  fileRoots: [],
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')

function noLease(asked: number): number {
  if (asked === 0) return 0
  throw new Refusal('EINVAL', 'lease_ms is for contexts with a lease', { lease_ms: asked })
}

/** Undoes a refused call, at once or when its driver operations have ended, and throws on. */
function refused(call: Call, context: Context | undefined, error: unknown): Promise<never> {
  const undone = call.fail()
  if (undone === undefined) {
    context?.leave()
    throw error
  }
  return undone
    .then(() => {
      throw error
    })
    .finally(() => context?.leave())
}
