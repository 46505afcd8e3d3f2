/** A careless driver and a careless device of one raw SMMUv3: each step is something that either may do, or may not. */

import {
  type Client,
  type ContextClient,
  DmaOutcome,
  IommudError,
  type TransactionResult,
  UnitType,
} from '../../clients/node/index.js'
import type { Random } from './random.js'

/** Where the unit's memory is. */
const BASE = 0x8000_0000n
const BYTES = 0x10_0000n
const COMMANDS = 0x8000n
const COMMANDS_LG2 = 5n
const EVENTS = 0x9000n
const PAGES = 0xa000n

/** Last-level entries of pages 0 to 511, and the page that they lead to. */
const LEAVES = 0x5000n
const PAGE = 0xf_0000n

const STREAMS = [1, 2, 3] as const
const GBPA = 0x44
const CMDQ_CONS = 0x9c
const PRODS = [0x100a8, 0x100c8] as const

/** A step, and what it came to. */
export interface Step {
  readonly name: string
  /** Refusals that it may meet; any other is a failure. */
  readonly refusal: IommudError | undefined
}

/** What replies tell of pending and ended requests. */
interface Learnt {
  readonly outcomes?: Iterable<number>
  readonly statuses?: Iterable<number>
  readonly transactionIds?: Iterable<bigint>
  readonly results?: readonly Pick<TransactionResult, 'outcome' | 'pageResponse' | 'transactionId'>[]
}

/** Drives one unit. */
export class StreamDriver {
  readonly inside: ContextClient
  readonly random: Random
  /** What pends, or ended and was not told. */
  readonly #ids = new Set<bigint>()
  /** Invalidations that were told and not completed, and whose they are. */
  readonly #tags = new Map<bigint, number>()
  /** Outcomes and responses that were met. */
  readonly met = new Set<string>()
  readonly #stalls: { readonly sid: bigint; readonly stag: bigint }[] = []
  #regionId = 0
  #unitId = 0
  #prod = 0

  constructor(client: Client, context: string, random: Random) {
    this.inside = client.inContext(context)
    this.random = random
  }

  /** Makes the memory and the unit, and starts it. */
  async start(): Promise<void> {
    const source = { anonymous: { bytes: BYTES }, busAddress: BASE }
    this.#regionId = (await this.inside.createMemoryRegion(source)).regionId
    const table = (at: bigint): bigint => BASE + at
    for (const [i, dw1] of [0x1000_00d6n, 0xd6n, 0x1000_00d6n].entries()) {
      // S1CDMax 4 of the last stream: PASIDs.
      const ste = table(0x1000n) | 0xbn | (i === 2 ? 4n << 59n : 0n)
      await this.#store(BigInt(STREAMS[i]) * 64n, ste, dw1)
    }
    for (let pasid = 0n; pasid < 16n; pasid++) {
      await this.#store(0x1000n + pasid * 64n, 0x1f205_c000_3510n, table(0x2000n), 0n, 0xf404_ff44n)
    }
    for (const at of [0x2000n, 0x3000n, 0x4000n]) await this.#store(at, table(at + 0x1000n) | 3n)
    await this.#makeUnit()
  }

  /** Ends nothing: whoever opened the context does. */
  async step(): Promise<Step> {
    const steps = Object.entries(this.#steps)
    const [name, act] = this.random.pick(steps.flatMap((step) => Array<typeof step>(step[1].weight).fill(step)))
    try {
      await act.run()
      return { name, refusal: undefined }
    } catch (error) {
      if (!(error instanceof IommudError)) throw error
      this.#learn((error.partial ?? {}) as Learnt)
      return { name, refusal: error }
    }
  }

  readonly #steps: Readonly<Record<string, { readonly weight: number; readonly run: () => Promise<unknown> }>> = {
    access: { weight: 8, run: () => this.#access() },
    await: { weight: 4, run: () => this.#await() },
    ask: { weight: 3, run: () => this.#ask() },
    pages: { weight: 3, run: () => this.#pages() },
    poll: { weight: 3, run: () => this.#poll() },
    complete: { weight: 4, run: () => this.#complete() },
    command: { weight: 8, run: () => this.#command() },
    queues: { weight: 4, run: () => this.#serveQueues() },
    map: { weight: 5, run: () => this.#map() },
    mend: { weight: 2, run: () => this.#mend() },
    explain: { weight: 1, run: () => this.#explain() },
    interrupts: { weight: 1, run: () => this.inside.pollUnitInterrupts({ unitId: this.#unitId, maxInterrupts: 8 }) },
    register: { weight: 1, run: () => this.#register() },
    reset: { weight: 1, run: () => this.#reset() },
  }

  /** What a reply told, whole or up to what was refused. */
  #learn({ outcomes = [], statuses = [], transactionIds = [], results = [] }: Learnt): void {
    for (const outcome of outcomes) this.met.add(`outcome ${outcome}`)
    for (const status of statuses) this.met.add(`status ${status}`)
    for (const id of transactionIds) if (id !== 0n) this.#ids.add(id)
    for (const { outcome, pageResponse, transactionId } of results) {
      this.met.add(`ended ${outcome} ${pageResponse}`)
      if (outcome !== DmaOutcome.PENDING) this.#ids.delete(transactionId)
    }
  }

  get #stream(): { unitId: number; sourceId: number } {
    const { random } = this
    return { unitId: random.oneIn(30) ? random.below(9) : this.#unitId, sourceId: random.pick([1, 1, 2, 3, 3, 9]) }
  }

  get #pasid(): number | undefined {
    const { random } = this
    return random.oneIn(2) ? undefined : random.oneIn(20) ? random.u32() : random.below(18)
  }

  /** Mostly one of a few pages; most of them are not mapped most of the time. */
  get #iova(): bigint {
    const { random } = this
    return random.oneIn(20) ? random.u64() : BigInt(random.below(16) << 12)
  }

  async #makeUnit(): Promise<void> {
    this.#unitId = (await this.inside.createUnit({ type: UnitType.SMMUV3, preset: 'full' })).unitId
    await this.#program()
  }

  async #program(): Promise<void> {
    this.#prod = 0
    const queue = (at: bigint): bigint => (1n << 62n) | (BASE + at) | COMMANDS_LG2
    const writes = [
      { offset: 0x20, width: 4, value: 0n },
      { offset: 0x80, width: 8, value: BASE },
      { offset: 0x88, width: 4, value: 4n },
      { offset: 0x90, width: 8, value: queue(COMMANDS) },
      { offset: 0x98, width: 4, value: 0n },
      { offset: CMDQ_CONS, width: 4, value: 0n },
      { offset: 0xa0, width: 8, value: queue(EVENTS) },
      { offset: 0xc0, width: 8, value: queue(PAGES) },
      { offset: 0x50, width: 4, value: 7n },
      { offset: 0x20, width: 4, value: 0x1fn },
    ]
    await this.inside.writeUnitRegisters({ unitId: this.#unitId, writes })
  }

  async #store(offset: bigint, ...words: bigint[]): Promise<void> {
    const data = new Uint8Array(BigUint64Array.from(words).buffer)
    await this.inside.writeMemory({ patches: [{ regionId: this.#regionId, offset, data }] })
  }

  async #access(): Promise<void> {
    const { random } = this
    const count = random.oneIn(10) ? 40 : 1 + random.below(6)
    const iovas = Array.from({ length: count }, () => this.#iova)
    const { unitId, sourceId } = this.#stream
    const request = { unitId, sourceIds: [sourceId], iovas, pasid: this.#pasid, access: 1 + random.below(15) }
    this.#learn(await this.inside.translateUnit({ ...request, translated: random.oneIn(6) }))
  }

  async #await(): Promise<void> {
    const { random } = this
    const known = [...this.#ids]
    const from = random.below(known.length + 1)
    const transactionIds = known.slice(from, from + 1 + random.below(20))
    if (random.oneIn(8)) transactionIds.push(random.pick([0n, 1n, 77n, 2n ** 64n - 1n]))
    this.#learn(await this.inside.awaitDma({ transactionIds, waitMs: random.below(3) }))
  }

  async #ask(): Promise<void> {
    const { random } = this
    const iovas = Array.from({ length: 1 + random.below(5) }, () => this.#iova)
    const request = { stream: this.#stream, iovas, pasid: this.#pasid, access: random.below(16) }
    this.#learn(await this.inside.requestTranslations(request))
  }

  async #pages(): Promise<void> {
    const { random } = this
    const requests = Array.from({ length: 1 + random.below(20) }, () => ({
      iova: this.#iova,
      access: random.oneIn(10) ? random.below(32) : 1 + random.below(3),
      groupIndex: random.oneIn(40) ? random.u32() : random.below(8),
      last: !random.oneIn(3),
    }))
    this.#learn(await this.inside.requestPages({ stream: this.#stream, pasid: this.#pasid, requests }))
  }

  async #poll(): Promise<void> {
    const { random } = this
    const stream = this.#stream
    const request = { stream, maxInvalidations: random.below(4), waitMs: random.below(3) }
    const { invalidations } = await this.inside.pollInvalidations(request)
    for (const { tag } of invalidations) this.#tags.set(tag, stream.sourceId)
  }

  async #complete(): Promise<void> {
    const { random } = this
    const timedOut = random.oneIn(5)
    const known = [...this.#tags][0]
    if (known === undefined || random.oneIn(4)) {
      const tags = [random.pick([0n, 1n, BigInt(random.below(300)), 2n ** 53n, 2n ** 64n - 1n])]
      await this.inside.completeInvalidations({ stream: this.#stream, tags, timedOut })
      return
    }
    const [tag, sourceId] = known
    this.#tags.delete(tag)
    const stream = { unitId: this.#unitId, sourceId }
    await this.inside.completeInvalidations({ stream, tags: [tag], timedOut })
  }

  /** Some commands, good and bad, and the doorbell. */
  async #command(): Promise<void> {
    const { random } = this
    for (let left = 1 + random.below(6); left > 0; left--) {
      const sid = BigInt(random.pick([1, 1, 2, 3, 3, 7])) << 32n
      const ssid = random.oneIn(2) ? 0n : (1n << 11n) | (BigInt(random.below(16)) << 12n)
      const [dw0, dw1] = random.pick<() => [bigint, bigint]>([
        () => this.#resume(),
        () => this.#resume(),
        () => [0x44n | sid | (BigInt(random.below(4)) << 12n), BigInt(random.below(80))],
        () => [0x45n | sid, 0n],
        () => [0x40n | sid | ssid, this.#iova | BigInt(random.below(8))],
        () => [0x40n | sid | ssid, BigInt(random.below(64))],
        () => [0x41n | sid | ssid, BigInt(random.below(8)) | (BigInt(random.below(3)) << 12n)],
        () => [0x46n, 0n],
        () => [0x46n, 0n],
        () => [0x30n, 0n],
        () => [0x4n, 0x1fn],
        () => (random.oneIn(4) ? [random.u64(), random.u64()] : [0x46n, 0n]),
      ])()
      await this.#push(dw0, dw1)
    }
    await this.#ring()
  }

  async #push(dw0: bigint, dw1: bigint): Promise<void> {
    await this.#store(COMMANDS + BigInt((this.#prod & 31) * 16), dw0, dw1)
    this.#prod = (this.#prod + 1) & 63
  }

  async #ring(): Promise<void> {
    const writes = [{ offset: 0x98, width: 4, value: BigInt(this.#prod) }]
    await this.inside.writeUnitRegisters({ unitId: this.#unitId, writes })
  }

  /** CMD_RESUME of a stall that was told, whether it is still there or not. */
  #resume(): [bigint, bigint] {
    const { random } = this
    const { sid, stag } = this.#stalls.at(-1 - random.below(4)) ?? { sid: 1n, stag: 0n }
    return [0x44n | (sid << 32n) | (BigInt(random.below(4)) << 12n), stag]
  }

  /** Takes records, remembers the stalls that they tell of, and goes on after errors. */
  async #serveQueues(): Promise<void> {
    const slices = [{ regionId: this.#regionId, offset: EVENTS, length: 32 << Number(COMMANDS_LG2) }]
    const { data } = await this.inside.readMemory({ slices })
    const words = new BigUint64Array(data[0].slice().buffer)
    const at = words.findIndex((dw1, i) => i % 4 === 1 && (dw1 & 0x8000_0000n) !== 0n)
    if (at > 0) this.#stalls.push({ sid: words[at - 1] >> 32n, stag: words[at] & 0xffffn })
    // The next look finds another.
    if (at > 0) await this.#store(EVENTS + BigInt(at * 8), 0n)
    const { unitId } = this.#stream
    const reads = [...PRODS, 0x60, 0x64].map((offset) => ({ offset, width: 4 }))
    const { values } = await this.inside.readUnitRegisters({ unitId, reads })
    const writes = PRODS.map((offset, i) => ({ offset: offset + 4, width: 4, value: values[i] }))
    if (values[2] !== values[3]) this.met.add('gerror')
    await this.inside.writeUnitRegisters({ unitId, writes: [...writes, { offset: 0x64, width: 4, value: values[2] }] })
  }

  async #map(): Promise<void> {
    const { random } = this
    const entry = random.pick([0n, 0n, BASE + PAGE + 0xf47n, BASE + PAGE + 0xf47n, BASE + PAGE + 0xfc7n, random.u64()])
    await this.#store(LEAVES + BigInt(random.below(16) * 8), entry)
  }

  /** For once what a good driver does: every page is there, and whoever stalled goes on. */
  async #mend(): Promise<void> {
    await this.#store(LEAVES, ...Array<bigint>(16).fill(BASE + PAGE + 0xf47n))
    for (const { sid, stag } of this.#stalls.slice(-4)) await this.#push(0x1044n | (sid << 32n), stag)
    await this.#ring()
  }

  async #explain(): Promise<void> {
    const { random } = this
    const request = { ...this.#stream, iova: this.#iova, pasid: this.#pasid, requestType: random.below(4) as 0 }
    await this.inside.explainUnit(request)
  }

  async #register(): Promise<void> {
    const { random } = this
    const offset = random.oneIn(2) ? random.pick([0x20, GBPA, 0x50, 0x64, 0xd0, 0x100a8]) : random.below(0x40) * 4
    const writes = [{ offset, width: 4, value: BigInt(random.u32()) }]
    await this.inside.writeUnitRegisters({ unitId: this.#unitId, writes })
    if (random.oneIn(2)) await this.#program()
  }

  async #reset(): Promise<void> {
    if (this.random.oneIn(4)) await this.inside.destroy({ objectId: this.#unitId }).then(() => this.#makeUnit())
    else await this.inside.resetUnit({ unitId: this.#unitId }).then(() => this.#program())
  }
}
