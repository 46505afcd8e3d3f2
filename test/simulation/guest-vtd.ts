/** A random VT-d guest at work: DMA, edits with the invalidations that the manual asks for, and the judge. */

import type { Outcome } from '../../hw-model/port.js'
import { randomVtdCaches, roomyVtdCaches, VTD_CACHES_OFF } from './caches-vtd.js'
import { buildGuest, type Guest } from './guest-vtd-build.js'
import { DeviceTlbs } from './guest-vtd-device-tlb.js'
import { buildDomains, type Ground } from './guest-vtd-domains.js'
import { Driver } from './guest-vtd-driver.js'
import { Editor } from './guest-vtd-edits.js'
import { chooseUnit } from './guest-vtd-ids.js'
import { Interludes } from './guest-vtd-interludes.js'
import { Pages } from './guest-vtd-pages.js'
import { Requester } from './guest-vtd-requester.js'
import { Rules } from './guest-vtd-rules.js'
import { upgrade } from './guest-vtd-upgrades.js'
import { describe, endsOf, isMisled, judgeMemory, recordOf, tell } from './judge-vtd.js'
import { Overlay } from './ram.js'
import { translate } from './reference/vtd.js'
import { featuresOf, type VtdFeatures, type VtdIds } from './reference/vtd-features.js'
import type { VtdAccess, VtdRegisters, VtdResult } from './reference/vtd-types.js'
import type { Rng } from './rng.js'
import { Disagreement, hex, type StepOptions, type StepReport, troubleOf } from './step.js'

const ACCESSES = 120

/** Of a guest that insists, and how many of its last ones come again after each edit. */
const INSISTENT = { accesses: 48, again: 3 } as const

/** Plays one machine. */
export function stepVtd(rng: Rng, options: StepOptions): StepReport {
  return new Machine(rng, options).play()
}

class Machine {
  readonly #rng: Rng
  readonly #ids: VtdIds
  readonly #features: VtdFeatures
  readonly #driver: Driver
  readonly #guest: Guest
  readonly #editor: Editor
  readonly #rules: Rules
  readonly #requester: Requester
  readonly #interludes: Interludes
  readonly #pages: Pages | undefined
  readonly #ground: Ground
  readonly #deviceTlbs: DeviceTlbs | undefined
  readonly #mix: Record<string, number> = {}
  /** Nobody changes what it says. */
  readonly #isProper: boolean
  readonly #insists: boolean
  #registers: VtdRegisters
  #accesses = 0
  #translated = 0
  #blocked = 0

  constructor(rng: Rng, { cached, onlooker, insists = false }: StepOptions) {
    this.#rng = rng
    this.#isProper = onlooker === undefined
    this.#insists = insists
    const { ids, traits } = chooseUnit(rng)
    this.#ids = ids
    for (const name of traits) this.#count(`unit: ${name}`)
    const features = featuresOf(ids)
    this.#features = features
    const isScalable = features.smts && (features.sagaw === 0 || rng.chance(0.75))
    const ssirwe = isScalable && features.ssirws && rng.chance(0.5)
    const caches = cached ? (insists ? roomyVtdCaches(rng) : randomVtdCaches(rng)) : VTD_CACHES_OFF
    const driver = new Driver(rng, ids, features, caches, isScalable, onlooker)
    this.#driver = driver
    const far = features.haw === 52 ? driver.far : undefined
    const ground: Ground = { rng, features, ram: driver.ram, far, sealed: driver.sealed, isScalable, ssirwe }
    this.#ground = ground
    const dids = new Identifiers(rng, features)
    const domains = buildDomains(ground, () => dids.fresh())
    this.#guest = buildGuest(ground, driver.config, domains)
    this.#rules = new Rules(rng, driver, features, isScalable)
    const count = (name: string): void => this.#count(name)
    const parts = { ground, guest: this.#guest, driver, rules: this.#rules }
    const handOut = { fresh: () => dids.fresh(), free: (did: number) => dids.free(did) }
    this.#editor = new Editor(parts, rng.chance(0.6) || insists, handOut, count)
    this.#requester = new Requester(rng, features, this.#guest)
    this.#registers = { isOn: true, rootTable: this.#guest.rootTable, mode: isScalable ? 1 : 0, ssirwe }
    const set = (registers: VtdRegisters): void => {
      this.#registers = registers
    }
    this.#interludes = new Interludes({ ...parts, editor: this.#editor, set, access: () => this.#next(), count })
    this.#pages = features.prs ? new Pages(rng, features, driver, count) : undefined
    const sids = this.#guest.devices.map(({ sid }) => sid)
    this.#deviceTlbs = features.dt ? new DeviceTlbs(rng, driver, driver.lateDevices, sids, count) : undefined
    this.#start(domains.map(({ did }) => did))
  }

  #start(dids: readonly number[]): void {
    const { qi } = this.#features
    const driver = this.#driver
    driver.start()
    driver.setRoot(this.#registers)
    if (qi) driver.setQueued(true)
    this.#rules.everything()
    for (const did of dids) this.#rules.didTaken(did)
    driver.wait()
    this.#pages?.start()
    driver.setOn(true)
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
      if (rng.chance(this.#insists ? 0.25 : 0.08)) this.#edit()
      if (!this.#insists && rng.chance(0.02)) this.#noise()
      if (rng.chance(0.01)) this.#interludes.play(this.#registers)
      if (this.#pages !== undefined && rng.chance(0.08)) this.#page(this.#pages)
      if (rng.chance(0.02)) this.#deviceTlbs?.play(this.#registers.mode === 1)
      this.#next()
    }
    this.#driver.checkEvents()
  }

  #next(): void {
    this.#access(this.#requester.next())
  }

  #page(pages: Pages): void {
    const recent = this.#rng.chance(0.4) ? this.#requester.recent() : undefined
    const attachment = recent === undefined ? undefined : this.#requester.attachmentOf(recent)
    if (recent !== undefined && attachment !== undefined && this.#registers.mode === 1) {
      this.#access(recent)
      const ask = (access: VtdAccess): boolean => pages.ask(this.#registers, this.#requester.page(access))
      const count = (name: string): void => this.#count(name)
      const parts = { ground: this.#ground, guest: this.#guest, driver: this.#driver, rules: this.#rules, ask, count }
      if (upgrade(parts, recent, attachment)) this.#access({ ...recent, write: true, execute: false })
    } else if (this.#rng.chance(0.7)) pages.ask(this.#registers, this.#requester.page())
    else pages.serve()
  }

  #noise(): void {
    this.#rules.noise(this.#editor.dids)
    this.#driver.wait()
  }

  /** Often an edit of an entry that a recent access passed, so that the same access comes again. */
  #edit(): void {
    this.#editOne()
    for (let i = this.#insists ? INSISTENT.again : 0; i > 0; i--) {
      const access = this.#requester.recent()
      if (access !== undefined) this.#access(access)
    }
  }

  #editOne(): void {
    const access = this.#rng.chance(this.#insists ? 0.8 : 0.6) ? this.#requester.recent() : undefined
    const attachment = access === undefined ? undefined : this.#requester.attachmentOf(access)
    const { first, second } = attachment?.domain ?? {}
    const tables = first?.tables ?? second?.tables
    if (access === undefined || attachment === undefined || tables === undefined) {
      this.#editor.edit()
      return
    }
    const input = BigInt.asUintN(12 + 9 * tables.levels, access.address)
    const passed = tables.entries.filter(({ input: start, level }) => {
      const shift = BigInt(12 + 9 * (level - 1))
      return start >> shift === input >> shift
    })
    if (passed.length === 0) {
      this.#editor.edit()
      return
    }
    this.#access(access)
    this.#editor.tables.edit(attachment.domain, this.#rng.pick(passed), first !== undefined)
    this.#editor.finish()
    this.#requester.repeat(access)
  }

  #access(access: VtdAccess): void {
    const driver = this.#driver
    const result = translate(new Overlay(driver.memory), this.#features, this.#registers, access)
    const before = new Map([...result.updates.keys()].map((at) => [at, driver.ram.read(at)]))
    const { writes } = driver
    const wrong = (what: string, about?: Disagreement['about']): Disagreement =>
      new Disagreement(`${this.#explain(access)}: ${what}`, about)
    if (this.#rng.chance(0.03)) this.#explained(access, result, wrong)
    if (driver.faults.isFull || this.#rng.chance(0.2)) driver.faults.clear(this.#rng)
    this.#accesses++
    driver.beforeAccess(this.#accesses)
    const outcome = driver.send(access)
    const ends = endsOf(result, outcome)
    if (ends.length === 0) throw wrong(tell(result, outcome), isMisled(result, outcome) ? 'ending' : 'other')
    const trouble =
      driver.faults.expectOneOf(ends.map(recordOf)) ??
      judgeMemory({ before, updates: result.updates }, (at) => driver.ram.read(at), driver.writes - writes)
    if (trouble !== undefined) throw wrong(`${trouble}; ${tell(result, outcome)}`)
    this.#tally(access, result, outcome)
    this.#requester.learn(access, outcome)
  }

  /** A dry walk comes to the same end, and leaves memory and records alone. */
  #explained(access: VtdAccess, result: VtdResult, wrong: (what: string) => Disagreement): void {
    const driver = this.#driver
    const { writes } = driver
    const outcome = driver.explain(access)
    if (!result.isClosed && endsOf(result, outcome).length === 0)
      throw wrong(`explained otherwise: ${tell(result, outcome)}`)
    const trouble = driver.faults.expect(undefined)
    if (trouble !== undefined) throw wrong(`explaining records: ${trouble}`)
    if (driver.writes !== writes) throw wrong('explaining writes to memory')
    const missing = this.#isProper ? driver.missing(access) : []
    if (missing.length > 0) throw wrong(`a proper guest is told that it lacks ${JSON.stringify(missing)}`)
    this.#count('explained')
  }

  #tally({ kind, pasid }: VtdAccess, { met }: VtdResult, outcome: Outcome): void {
    const end = kind === 'untranslated' ? 'untranslated' : kind
    const isThrough = outcome.status === 1
    if (isThrough) this.#translated++
    else this.#blocked++
    this.#count(`${end}: status ${outcome.status}`)
    if (pasid !== undefined) this.#count('PASID')
    for (const name of met) this.#count(name)
    if (outcome.status === 2) this.#count(`fault ${hex(outcome.fault)}`)
  }

  #count(name: string): void {
    this.#mix[name] = (this.#mix[name] ?? 0) + 1
  }

  #explain(access: VtdAccess): string {
    const { sid, pasid, address } = access
    const attachment = this.#requester.attachmentOf(access)
    const words = (at: bigint, count: number): string =>
      Array.from({ length: count }, (_, i) => hex(this.#driver.ram.read(at + BigInt(i) * 8n))).join(' ')
    const entries =
      attachment === undefined
        ? 'no such device or PASID'
        : `context ${words(attachment.device.context, 2)}; entry ${words(attachment.at, attachment.pasid === undefined ? 2 : 3)}`
    const { version, cap, ecap, haw } = this.#ids
    const unit = `VER ${hex(version)} CAP ${hex(cap)} ECAP ${hex(ecap)} HAW ${haw}`
    const { mode, isOn, ssirwe } = this.#registers
    const state = `TTM ${mode}${isOn ? '' : ' off'}${ssirwe ? ' SSIRWE' : ''}${this.#rules.isBent ? ' bent' : ''}`
    return `(sid ${hex(sid)} pasid ${pasid ?? 'none'} ${hex(address)} ${describe(access)}; ${entries}; ${unit}; ${state})`
  }
}

/** Domain-ids: few ones come back soon. DID 0 is the hardware's with CM = 1. [VTD 6.1 Caching Mode] */
class Identifiers {
  readonly #free: number[] = []
  #next: number
  readonly #rng: Rng
  readonly #count: number

  constructor(rng: Rng, { didBits, cm }: VtdFeatures) {
    this.#rng = rng
    this.#count = 2 ** didBits
    this.#next = cm || rng.chance(0.5) ? 1 : 0
  }

  fresh(): number {
    const isAgain = this.#free.length > 0 && (this.#next >= this.#count || this.#rng.chance(0.5))
    if (isAgain) return this.#free.splice(this.#rng.int(this.#free.length), 1)[0]
    return this.#next++
  }

  free(did: number): void {
    this.#free.push(did)
  }
}
