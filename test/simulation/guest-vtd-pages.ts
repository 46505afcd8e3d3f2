/**
 * Page requests of a random VT-d guest, and the software that answers them: a queue in memory, an event, automatic
 * answers when it is full. [VTD 7.4 Page Requests] [VTD 7.6.1 Page Group Response]
 */

import { NO_PASID, PAGE_RESPONSE, PageRequest } from '../../hw-model/port.js'
import type { Driver, PageAnswer } from './guest-vtd-driver.js'
import { Overlay } from './ram.js'
import type { VtdFeatures } from './reference/vtd-features.js'
import { type Admission, admit, type PageAsk } from './reference/vtd-pages.js'
import type { VtdRegisters } from './reference/vtd-types.js'
import type { Rng } from './rng.js'
import { Disagreement, hex } from './step.js'

const REG = { PQH: 0xc0, PQT: 0xc8, PQA: 0xd0, PRS: 0xdc, PECTL: 0xe0, PEDATA: 0xe4, PEADDR: 0xe8 } as const
const BYTES = 4096
const ENTRY = 32
const PPR = 1
const PRO = 2

/** Plays both sides of the queue. */
export class Pages {
  readonly #rng: Rng
  readonly #features: VtdFeatures
  readonly #driver: Driver
  readonly #count: (name: string) => void
  readonly #queue: bigint
  readonly #request = new PageRequest()
  #head = 0
  #tail = 0
  #status = 0
  #events = 0
  /** Groups that wait for software: their last request is in the queue. */
  readonly #waiting: PageAsk[] = []

  constructor(rng: Rng, features: VtdFeatures, driver: Driver, count: (name: string) => void) {
    this.#rng = rng
    this.#features = features
    this.#driver = driver
    this.#count = count
    this.#queue = driver.allocateQueue(BigInt(BYTES))
  }

  /** Sets the queue up before any request comes. [VTD 7.4.1] */
  start(): void {
    const driver = this.#driver
    driver.write(REG.PQT, 0n, 8)
    driver.write(REG.PQA, this.#queue, 8)
    driver.write(REG.PEDATA, 0x33n)
    driver.write(REG.PEADDR, 0xfee0_3000n)
    driver.write(REG.PECTL, 0n)
    this.#makeRoom()
  }

  /** One request, and what comes of it. True where it is in the queue now. */
  ask(registers: VtdRegisters, ask: PageAsk): boolean {
    const driver = this.#driver
    const request = this.#request
    request.rid = ask.sid
    request.pasid = ask.pasid ?? NO_PASID
    request.lo = Number(BigInt.asIntN(32, ask.address))
    request.hi = Number(BigInt.asIntN(32, ask.address >> 32n))
    request.access = (ask.read ? 1 : 0) | (ask.write ? 2 : 0) | (ask.execute ? 4 : 0) | (ask.privileged ? 8 : 0)
    request.group = ask.group
    request.isLast = ask.isLast
    const admissions = admit(new Overlay(driver.memory), this.#features, registers, ask)
    if (driver.faults.isFull) driver.faults.clear(this.#rng)
    driver.unit.ats?.requestPage(request)
    return this.#judge(ask, admissions)
  }

  /** Software takes what is in the queue and answers some groups. */
  serve(): void {
    const driver = this.#driver
    if (this.#status !== 0) {
      driver.write(REG.PRS, BigInt(this.#status))
      this.#status = 0
    }
    this.#makeRoom()
    this.#check()
    while (this.#waiting.length > 0 && this.#rng.chance(0.8)) {
      const ask = this.#waiting.splice(this.#rng.int(this.#waiting.length), 1)[0]
      const code = this.#rng.pick(Object.values(PAGE_RESPONSE))
      const pasid = ask.pasid === undefined ? BigInt(this.#rng.int(2 ** 20)) : BigInt(ask.pasid) | (1n << 52n)
      const withPasid = ask.pasid === undefined ? 0n : 1n << 4n
      const low = 9n | withPasid | (BigInt(code) << 12n) | (BigInt(ask.sid) << 16n) | ((pasid & 0xf_ffffn) << 32n)
      driver.put(low, (BigInt(ask.group) << 3n) | (this.#rng.bit() << 2n))
      driver.wait()
      this.#answered([{ rid: ask.sid, pasid: ask.pasid, group: ask.group, code }])
      this.#count(`page response: ${code}`)
    }
  }

  #judge(ask: PageAsk, admissions: readonly Admission[]): boolean {
    const driver = this.#driver
    const answers = driver.takeAnswers()
    const reasons = admissions.map((admission) => ('reason' in admission ? hex(admission.reason) : admission.end))
    const wrong = (what: string): Disagreement => {
      const how = `${ask.read ? 'R' : ''}${ask.write ? 'W' : ''}${ask.isLast ? 'L' : ''}`
      const who = `page request ${how} of ${hex(ask.sid)} pasid ${ask.pasid ?? 'none'} ${hex(ask.address)}`
      return new Disagreement(`${who}, ${reasons.join(' or ')}: ${what}`)
    }
    const [first] = admissions
    const expected: PageAnswer[] = []
    let isQueued = false
    if (first.end === 'refused') {
      const records = admissions.map((admission) => ('record' in admission ? admission.record : undefined))
      // A stop marker that cannot be queued may be dropped without a word. [VTD 11.4.3 SMS]
      const isSilent = !ask.read && !ask.write && this.#features.sms
      const trouble = driver.faults.expectOneOf(isSilent ? [undefined, ...records] : records)
      if (trouble !== undefined) throw wrong(trouble)
      if (ask.isLast) expected.push(answerTo(ask, PAGE_RESPONSE.INVALID))
      this.#count(`page request: ${reasons[0]}`)
    } else if (first.end === 'admitted') {
      const trouble = driver.faults.expect(undefined)
      if (trouble !== undefined) throw wrong(trouble)
      isQueued = this.#queued(ask, first.descriptor, expected)
    }
    // What is refused has no response where nobody waits for one: a stop marker.
    const isMarker = !ask.read && !ask.write
    if (!(isMarker && ask.isLast && answers.length === 0 && !isQueued)) this.#compare(expected, answers, wrong)
    this.#check()
    return isQueued
  }

  #queued(ask: PageAsk, descriptor: readonly bigint[], expected: PageAnswer[]): boolean {
    const next = (this.#tail + ENTRY) % BYTES
    const isMarker = !ask.read && !ask.write && ask.isLast
    if ((this.#status & PRO) !== 0 || next === this.#head) {
      if (ask.isLast) expected.push(answerTo(ask, PAGE_RESPONSE.SUCCESS))
      // A stop marker may be dropped without a word. [VTD 11.4.3 SMS]
      const isSilent = isMarker && this.#features.sms
      if (isMarker && !this.#features.sms) this.#status = this.#driver.unit.readRegister(REG.PRS, 4)[0] & 3
      else if (!isSilent) this.#raise(PRO)
      this.#count('page request: overflow')
      return false
    }
    const at = this.#queue + BigInt(this.#tail)
    const found = [0n, 8n, 16n, 24n].map((i) => this.#driver.ram.read(at + i))
    if (found.some((word, i) => word !== descriptor[i])) {
      throw new Disagreement(
        `a page request is queued as ${found.map(hex).join(' ')}, not ${descriptor.map(hex).join(' ')}`,
      )
    }
    this.#tail = next
    this.#raise(PPR)
    if (ask.isLast && !isMarker) this.#waiting.push(ask)
    this.#count('page request: queued')
    return true
  }

  /** An event, unless one is due already. [VTD 7.5 Page Request Event] */
  #raise(flag: number): void {
    if (this.#status === 0) this.#events++
    this.#status |= flag
  }

  #check(): void {
    const driver = this.#driver
    const status = driver.unit.readRegister(REG.PRS, 4)[0] & 3
    const tail = Number(driver.read(REG.PQT))
    if (status !== this.#status) throw new Disagreement(`PRS is ${status}, not ${this.#status}`)
    if (tail !== this.#tail) throw new Disagreement(`PQT is ${hex(tail)}, not ${hex(this.#tail)}`)
    if (driver.pageEvents !== this.#events) {
      throw new Disagreement(`${driver.pageEvents} page request events came, and ${this.#events} were due`)
    }
  }

  /** Only a few places are free, so that it fills up now and then. */
  #makeRoom(): void {
    this.#head = (this.#tail + ENTRY * this.#rng.between(2, 6)) % BYTES
    this.#driver.write(REG.PQH, BigInt(this.#head), 8)
  }

  #answered(expected: readonly PageAnswer[]): void {
    this.#compare(expected, this.#driver.takeAnswers(), (what) => new Disagreement(what))
  }

  #compare(expected: readonly PageAnswer[], found: readonly PageAnswer[], wrong: (what: string) => Disagreement): void {
    const tell = (all: readonly PageAnswer[]): string =>
      all.map(({ rid, pasid, group, code }) => `${hex(rid)}/${pasid ?? 'none'}/${group}: ${code}`).join(', ')
    if (tell(expected) !== tell(found)) throw wrong(`the device hears [${tell(found)}], not [${tell(expected)}]`)
  }
}

const answerTo = ({ sid, pasid, group }: PageAsk, code: number): PageAnswer => ({ rid: sid, pasid, group, code })
