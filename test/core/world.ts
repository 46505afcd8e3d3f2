/** A core on a fake machine, with a clock that stands still and words short enough for a story. */

import type { Clock, Peer } from '../../server/core/ambient.js'
import { Core, type CoreOptions } from '../../server/core/core.js'
import { HANDLERS } from '../../server/core/index.js'
import { Refusal } from '../../server/core/refusal.js'
import { FakeMachine } from './fake-machine.js'

/** All ones. */
export const ALL = 2n ** 64n - 1n
export const FIXED = 1
export const WRITEABLE = 2
export const READABLE = 4
export const RW = READABLE | WRITEABLE

/** Two SMMUv3, one VT-d; a device with PASIDs and a mediated child behind each kind. */
export const fakeMachine = (): FakeMachine =>
  new FakeMachine(
    [
      { name: 'smmu0', kind: 'smmuv3' },
      { name: 'vtd0', kind: 'vtd' },
      { name: 'tiny0', kind: 'smmuv3', pageSizes: 2048n, aperture: { start: 0x1000000n, last: 0x7fffffffn } },
    ],
    [
      { name: 'arm', unit: 'smmu0', pasidLg2: 8, reserved: [{ kind: 'msi', start: 0x8000000n, last: 0x80fffffn }] },
      { name: 'arm2', unit: 'smmu0' },
      { name: 'arm/mdev5', unit: 'smmu0', mediated: { parent: 'arm', pasid: 5 } },
      { name: 'intel', unit: 'vtd0', pasidLg2: 8, reserved: [{ kind: 'msi', start: 0xfee00000n, last: 0xfeefffffn }] },
      { name: 'intel/mdev5', unit: 'vtd0', mediated: { parent: 'intel', pasid: 5 } },
      { name: 'mock', unit: 'tiny0' },
      { name: 'arm/ats', unit: 'smmu0', pasidLg2: 8, ats: true },
      { name: 'arm/ats5', unit: 'smmu0', mediated: { parent: 'arm/ats', pasid: 5 }, ats: true },
      { name: 'intel/ats', unit: 'vtd0', pasidLg2: 8, ats: true },
    ],
  )

/** Time that passes when told. */
export class StillClock implements Clock {
  #now = 0
  #next = 0
  readonly #timers = new Map<number, { at: number; fn: () => void }>()

  now(): number {
    return this.#now
  }

  after(ms: number, fn: () => void): () => void {
    const id = this.#next++
    this.#timers.set(id, { at: this.#now + ms, fn })
    return () => this.#timers.delete(id)
  }

  async advance(ms: number): Promise<void> {
    const until = this.#now + ms
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= until).sort((a, b) => a[1].at - b[1].at)[0]
      if (due === undefined) break
      this.#timers.delete(due[0])
      this.#now = Math.max(this.#now, due[1].at)
      due[1].fn()
    }
    this.#now = until
  }
}

type Name = keyof typeof HANDLERS
type RequestOf<N extends Name> = Omit<Parameters<(typeof HANDLERS)[N]>[1], 'context'>
type ReplyOf<N extends Name> = Awaited<ReturnType<(typeof HANDLERS)[N]>>

/** A core and one client's context in it. */
export class World {
  readonly machine: FakeMachine
  readonly clock = new StillClock()
  readonly core: Core
  readonly peer: Peer = { uid: 1000 }
  token = ''

  constructor(options: Partial<CoreOptions> & { machine?: FakeMachine } = {}) {
    this.machine = options.machine ?? fakeMachine()
    let counter = 0
    const random = { bytes: (count: number) => Uint8Array.from({ length: count }, () => counter++ & 0xff) }
    this.core = new Core({ random, clock: this.clock, ...options, machine: this.machine })
    this.token = this.open().context
  }

  /** Opens another context. */
  open(spec: { lifetime?: number; leaseMs?: number; label?: string } = {}, peer = this.peer) {
    const request = { lifetime: 3, leaseMs: 0, label: '', ...spec }
    return this.core.run(peer, undefined, HANDLERS.OpenContext, request) as ReplyOf<'OpenContext'>
  }

  /** Calls, and expects the answer at once. */
  do<N extends Name>(name: N, request: Partial<RequestOf<N>> = {}, token = this.token): ReplyOf<N> {
    const reply = this.begin(name, request, token)
    if (reply instanceof Promise) throw new Error(`${name} did not answer at once`)
    return reply
  }

  /** Calls; the answer may come later. */
  begin<N extends Name>(
    name: N,
    request: Partial<RequestOf<N>> = {},
    token = this.token,
  ): ReplyOf<N> | Promise<ReplyOf<N>> {
    const whole = { ...DEFAULTS, ...request, context: token }
    return this.core.call(this.peer, HANDLERS[name] as never, whole as never)
  }

  /** Calls, and answers the refusal's name. */
  no<N extends Name>(name: N, request: Partial<RequestOf<N>> = {}, token = this.token): string {
    return this.refusal(name, request, token).name
  }

  /** Calls, and answers the refusal. */
  refusal<N extends Name>(name: N, request: Partial<RequestOf<N>> = {}, token = this.token): Refusal {
    try {
      this.do(name, request, token)
    } catch (error) {
      if (error instanceof Refusal) return error
      throw error
    }
    throw new Error(`${name} was not refused`)
  }

  ioas(): number {
    return this.do('CreateIoas').ioasId
  }

  region(bytes = 0x100000n, clientAddress?: bigint): number {
    return this.do('CreateMemoryRegion', { anonymous: { bytes }, clientAddress }).regionId
  }

  bind(deviceName: string, grant = 0): number {
    return this.do('BindDevice', { deviceName, grant }).deviceId
  }

  paging(deviceId: number, ioasId: number, flags = 0): number {
    return this.do('CreatePagingDomain', { deviceId, ioasId, flags }).domainId
  }

  map(ioasId: number, regionId: number, length: bigint, iova?: bigint, offset = 0n, flags = RW): bigint {
    const fixed = iova === undefined ? 0 : FIXED
    return this.do('IoasMap', { ioasId, region: { regionId, offset }, length, iova: iova ?? 0n, flags: flags | fixed })
      .iova
  }

  /** Ids of objects, with their types. */
  objects(token = this.token): readonly string[] {
    return this.do('ListObjects', {}, token).objects.map(({ id, type }) => `${id}:${type}`)
  }

  /** Nothing of any context is left anywhere. */
  leftovers(): readonly string[] {
    const left: string[] = []
    if (this.machine.live !== 0) left.push(`${this.machine.live} things of the driver`)
    if (this.core.bound.size !== 0) left.push(`${this.core.bound.size} bound devices`)
    for (const { device, name } of this.machine.devices) {
      const { size } = (device as unknown as { slots: Map<number, unknown> }).slots
      if (size !== 0) left.push(`${size} attachments of ${name}`)
    }
    return left
  }
}

/** What decoding leaves in a field that was not sent. */
const DEFAULTS = {
  flags: 0,
  label: '',
  grant: 0,
  access: 0,
  addressType: 0,
  accesses: new Uint32Array(0),
  faultQueueId: 0,
  maxObjects: 0,
  startId: 0,
  type: 0,
  length: 0n,
  iova: 0n,
  dstIova: 0n,
  srcIova: 0n,
  objectId: 0,
  preset: '',
  overrides: [],
  cachePolicy: 0,
  cacheSeed: 0,
  policy: 0,
  mode: 0,
  graceSyncs: 0,
  start: 0,
  maxReports: 0,
  seed: 0,
  requestedType: 0,
  maxInterrupts: 0,
  waitMs: 0,
  translated: false,
  requestType: 0,
  maxInvalidations: 0,
  maxFaults: 0,
  maxEvents: 0,
  responses: [],
  timedOut: false,
}
