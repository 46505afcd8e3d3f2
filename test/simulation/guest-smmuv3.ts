/** A random SMMUv3 guest at work: DMA, edits with the invalidations that the manual asks for, and the judge. */

import type { Outcome } from '../../hw-model/port.js'
import type { CacheOptions } from '../../hw-model/smmuv3/index.js'
import { randomCaches, roomyCaches } from './caches.js'
import { buildStreams, type Ground, type Group, type GuestStream, ownedBy } from './guest-smmuv3-build.js'
import { Driver } from './guest-smmuv3-driver.js'
import { Editor } from './guest-smmuv3-edits.js'
import { HeldTransactions } from './guest-smmuv3-held.js'
import { chooseUnit } from './guest-smmuv3-ids.js'
import { Invalidator } from './guest-smmuv3-invalidate.js'
import { Requester } from './guest-smmuv3-requester.js'
import { describe, isMisled, judge, judgeDry, judgeMemory } from './judge-smmuv3.js'
import { Overlay } from './ram.js'
import { translate } from './reference/smmuv3.js'
import { featuresOf, type SmmuFeatures } from './reference/smmuv3-features.js'
import type { SmmuAccess, SmmuRegisters, SmmuResult } from './reference/smmuv3-types.js'
import type { Rng } from './rng.js'
import { Disagreement, hex, type StepOptions, type StepReport, troubleOf } from './step.js'

const ACCESSES = 120

/** Of a guest that insists, and how many of its last ones come again after each edit. */
const INSISTENT = { accesses: 48, again: 3 } as const

/** Plays one machine. */
export function stepSmmuv3(rng: Rng, options: StepOptions): StepReport {
  return new Machine(rng, options).play()
}

class Machine {
  readonly #rng: Rng
  readonly #insists: boolean
  readonly #features: SmmuFeatures
  readonly #stallMost: number
  readonly #driver: Driver
  readonly #registers: SmmuRegisters
  readonly #streams: GuestStream[]
  readonly #editor: Editor
  readonly #invalidate: Invalidator
  readonly #requester: Requester
  readonly #held: HeldTransactions
  readonly #l1: bigint[] = []
  readonly #mix: Record<string, number> = {}
  #accesses = 0
  #translated = 0
  #blocked = 0

  constructor(rng: Rng, { cached, onlooker, insists = false }: StepOptions) {
    this.#rng = rng
    this.#insists = insists
    const { id, traits } = chooseUnit(rng)
    for (const name of traits) this.#count(`unit: ${name}`)
    const features = featuresOf(id)
    this.#features = features
    this.#stallMost = features.stallModel === 1 ? 0 : Math.min(5, id.IDR5 >>> 16)
    const driver = new Driver(rng, id, cachesOf(rng, cached, insists), onlooker)
    this.#driver = driver
    const e2h = features.hyp && rng.chance(0.6)
    const isStrict = rng.chance(0.35) || insists
    const far = features.oasBits === 52 ? driver.far : undefined
    const popular = [rng.bits(28), rng.bits(30), rng.bits(40), rng.bits(64)]
    const ground: Ground = { rng, features, e2h, ram: driver.ram, far, isStrict, popular }
    const { registers, groups } = this.#buildStreams(ground)
    this.#registers = registers
    this.#streams = groups.flatMap(({ streams }) => streams)
    const vmw = ((id.IDR0 >>> 17) & 1) === 1 ? rng.int(5) : 0
    if (vmw > 0) this.#count('VMID wildcards')
    const hasRanges = ((id.IDR3 >>> 10) & 1) === 1
    this.#invalidate = new Invalidator(rng, driver, features, hasRanges, vmw)
    this.#editor = new Editor(rng, isStrict, groups, this.#l1, this.#invalidate)
    this.#requester = new Requester(rng, features, groups)
    this.#held = new HeldTransactions(rng, driver, features.abortOnly)
    driver.program(registers, vmw)
  }

  play(): StepReport {
    const trouble = troubleOf(() => this.#playOn())
    const after = troubleOf(() => this.#driver.afterAll())
    return {
      accesses: this.#accesses,
      translated: this.#translated,
      blocked: this.#blocked,
      hits: this.#driver.unit.counters.hits,
      commands: this.#driver.commands,
      mix: this.#mix,
      disagreement: trouble === undefined ? undefined : `access ${this.#accesses}: ${trouble.message}`,
      isMisled: trouble?.about === 'ending',
      isRefused: trouble?.about === 'command' || after?.about === 'command',
    }
  }

  /** To its end, or to a disagreement. */
  #playOn(): void {
    const rng = this.#rng
    if (rng.chance(0.3)) for (let i = rng.int(3); i >= 0; i--) this.#editor.edit()
    while (this.#accesses < (this.#insists ? INSISTENT.accesses : ACCESSES)) {
      if (rng.chance(this.#insists ? 0.25 : 0.06)) this.#edit()
      if (!this.#insists && rng.chance(0.02)) this.#invalidate.noise()
      this.#access(this.#requester.next())
    }
  }

  #buildStreams(ground: Ground): { registers: SmmuRegisters; groups: Group[] } {
    const { rng, e2h } = ground
    const ram = this.#driver.apart
    const twoLevel = rng.chance(0.5)
    const log2 = rng.pick([4, 7, 10])
    const split = rng.pick([6, 8, 10])
    const sids = [...new Set([0, 2 ** log2 - 1, rng.int(2 ** log2), rng.int(2 ** log2), rng.int(2 ** log2)])]
    const bytes = twoLevel ? 8n << BigInt(Math.max(0, log2 - split)) : 64n << BigInt(log2)
    const base = ram.allocate(bytes < 64n ? 64n : bytes)
    const placeOf = (sid: number): bigint =>
      twoLevel ? this.#leafSte(ram, base, sid, split) : base + BigInt(sid) * 64n
    const groups = buildStreams(
      ground,
      sids.map((sid) => ({ sid, ste: placeOf(sid) })),
    )
    const registers = {
      strtabBase: base,
      strtabLog2Size: log2,
      strtabSplit: split,
      twoLevel,
      e2h,
      recordInvalidSid: rng.chance(0.7),
      recordAtsConfig: this.#features.recordsAts && rng.chance(0.6),
      atsCheck: this.#features.ats && rng.chance(0.7),
    }
    return { registers, groups }
  }

  /** The place of a stream's STE in a two-level table, whose leaf is made on the way. */
  #leafSte(ram: Driver['ram'], base: bigint, sid: number, split: number): bigint {
    const at = base + BigInt(sid >>> split) * 8n
    if (ram.read(at) === 0n) {
      this.#l1.push(at)
      ram.write(at, ram.allocate(64n << BigInt(split)) | BigInt(split + 1))
    }
    return (ram.read(at) & ~0x3fn) + BigInt(sid & (2 ** split - 1)) * 64n
  }

  /** Often an edit of a descriptor that a recent access passed, so that the same access comes again. */
  #edit(): void {
    this.#editOne()
    for (let i = this.#insists ? INSISTENT.again : 0; i > 0; i--) {
      const access = this.#requester.recent()
      if (access !== undefined) this.#access(access)
    }
  }

  #editOne(): void {
    const access = this.#rng.chance(this.#insists ? 0.8 : 0.6) ? this.#requester.recent() : undefined
    const passed = access === undefined ? [] : this.#passedBy(access)
    if (access === undefined || passed.length === 0) {
      this.#editor.edit()
      return
    }
    this.#access(access)
    this.#editor.editDescriptor(this.#rng.pick(passed))
    this.#invalidate.sync()
    this.#requester.repeat(access)
  }

  #passedBy(access: SmmuAccess) {
    const stream = this.#streams.find(({ sid }) => sid === access.sid)
    if (stream === undefined) return []
    const context = stream.group.contexts.find(({ ssid }) => ssid === (access.ssid ?? 0))
    const half = Number((access.address >> 55n) & 1n)
    const tables = context === undefined ? stream.group.stage2?.tables : context.halves[half]
    if (tables === undefined) return []
    const input = BigInt.asUintN(tables.shape.inputBits, access.address)
    return ownedBy(stream.group).filter((owned) => {
      const isOf = owned.context === context && (context === undefined || owned.half === half)
      return isOf && owned.slot.input >> BigInt(owned.slot.lg2) === input >> BigInt(owned.slot.lg2)
    })
  }

  /** Software's answers to held transactions; the unit holds at most as many as it says. */
  #answer(): void {
    const rng = this.#rng
    while (this.#held.count > 0 && (this.#held.count >= this.#stallMost || rng.chance(0.25))) {
      if (rng.chance(0.1)) this.#held.miss()
      if (rng.chance(0.5)) this.#retry()
      else this.#count(this.#held.terminate())
    }
  }

  #retry(): void {
    const { access, tag, retry } = this.#held.takeForRetry()
    this.#count('RESUME, retry')
    const { result, settle } = this.#predict(access)
    retry()
    const ended = this.#driver.ended.splice(0)
    const own = ended.find((other) => other.tag === tag)
    if (result.expected.end !== 'stall') {
      if (own === undefined || ended.length > 1) throw new Disagreement(`RESUME ended ${ended.length} transactions`)
      settle(own.outcome)
      return
    }
    if (ended.length > 0) throw new Disagreement('a transaction ended that stalls again')
    settle(undefined, tag)
  }

  #access(access: SmmuAccess): void {
    if (this.#held.count > 0) this.#answer()
    const { result, settle } = this.#predict(access)
    if (this.#rng.chance(0.03)) this.#explained(access, result)
    this.#driver.beforeAccess(this.#accesses)
    settle(this.#driver.send(access))
  }

  /** A dry walk comes to the same end, and leaves memory alone. */
  #explained(access: SmmuAccess, result: SmmuResult): void {
    const driver = this.#driver
    const { writes } = driver
    const wrong = judgeDry(result, driver.explain(access), driver.takeEvents())
    if (wrong !== undefined) throw new Disagreement(`${this.#explain(access)}: ${wrong}`)
    if (driver.writes !== writes) throw new Disagreement(`${this.#explain(access)}: explaining writes to memory`)
    this.#count('explained')
  }

  /** What the reference says of an access; `settle` compares it with what the unit did since. */
  #predict(access: SmmuAccess): {
    readonly result: SmmuResult
    readonly settle: (outcome: Outcome | undefined, tag?: number) => void
  } {
    const driver = this.#driver
    const result = translate(new Overlay(driver.memory), this.#features, this.#registers, access)
    const before = new Map(result.updates.map(({ at }) => [at, driver.ram.read(at)]))
    const writes = driver.writes
    this.#accesses++
    this.#tally(access, result)
    const settle = (outcome: Outcome | undefined, tag?: number): void => {
      const events = driver.takeEvents()
      const wrong =
        judge(result, outcome, events) ??
        judgeMemory({ before, updates: result.updates }, (at) => driver.ram.read(at), driver.writes - writes)
      if (wrong !== undefined)
        throw new Disagreement(`${this.#explain(access)}: ${wrong}`, isMisled(result, outcome) ? 'ending' : 'other')
      if (result.expected.end === 'stall') this.#held.hold(access, tag ?? outcome?.tag ?? 0, events[0])
      if (outcome !== undefined) this.#requester.learn(access, outcome)
    }
    return { result, settle }
  }

  #tally({ kind, ssid }: SmmuAccess, { expected, met }: SmmuResult): void {
    if (expected.end === 'translated' || expected.end === 'granted') this.#translated++
    else this.#blocked++
    this.#count(`${kind}: ${expected.end}`)
    if (ssid !== undefined) this.#count('SubstreamID')
    for (const name of met) this.#count(name)
    const event = 'event' in expected ? expected.event : undefined
    if (event !== undefined) this.#count(`event ${hex(event.words[0] & 0xffn)}`)
  }

  #count(name: string): void {
    this.#mix[name] = (this.#mix[name] ?? 0) + 1
  }

  #explain(access: SmmuAccess): string {
    const stream = this.#streams.find(({ sid }) => sid === access.sid)
    const ste = stream === undefined ? [] : [0n, 8n, 16n, 24n].map((i) => hex(this.#driver.ram.read(stream.ste + i)))
    const ids = Object.values(this.#driver.unit.id).map(hex).join(' ')
    const what = `sid ${access.sid} ssid ${access.ssid ?? 'none'} ${hex(access.address)} ${describe(access)}`
    return `(${what}; STE ${ste.join(' ')}; ID ${ids})`
  }
}

function cachesOf(rng: Rng, cached: boolean, insists: boolean): CacheOptions {
  if (!cached) return { policy: 'off' }
  return insists ? roomyCaches(rng) : randomCaches(rng)
}
