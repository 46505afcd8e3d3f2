/** What software does to a whole VT-d unit while devices go on: other root tables, modes, and no translation at all. */

import type { Guest } from './guest-vtd-build.js'
import type { Ground } from './guest-vtd-domains.js'
import type { Driver } from './guest-vtd-driver.js'
import type { Editor } from './guest-vtd-edits.js'
import type { Rules } from './guest-vtd-rules.js'
import type { VtdRegisters } from './reference/vtd-types.js'

/** What they work on. */
export interface Stage {
  readonly ground: Ground
  readonly guest: Guest
  readonly driver: Driver
  readonly rules: Rules
  readonly editor: Editor
  /** Tells the reference of other registers. */
  readonly set: (registers: VtdRegisters) => void
  /** Makes an access. */
  readonly access: () => void
  readonly count: (name: string) => void
}

/** No memory is here. */
const NOWHERE = 1n << 37n

/** Plays them. */
export class Interludes {
  readonly #stage: Stage

  constructor(stage: Stage) {
    this.#stage = stage
  }

  /** One of them; afterwards all is as it was. */
  play(registers: VtdRegisters): void {
    const { rng } = this.#stage.ground
    const kind = rng.int(5)
    if (kind === 0) this.#off(registers)
    else if (kind === 1) this.#otherRoot(registers)
    else if (kind === 2) this.#otherMode(registers)
    else if (kind === 3) this.#byRegisters()
    else this.#sameRoot(registers)
  }

  /** TE 1 -> 0 -> 1. Hardware forgets all where SMTS is 1, and else nothing. [VTD 11.4.4.1] */
  #off(registers: VtdRegisters): void {
    const { driver, set, count, editor, ground } = this.#stage
    driver.setOn(false)
    set({ ...registers, isOn: false })
    this.#some()
    // What changes meanwhile is nowhere kept where hardware has forgotten all.
    driver.isMuted = ground.features.smts && ground.rng.chance(0.7)
    if (driver.isMuted) count('edit: while all is forgotten')
    for (let i = ground.rng.int(3); i > 0; i--) editor.edit()
    driver.isMuted = false
    this.#some()
    driver.setOn(true)
    set(registers)
    count('TE 1 -> 0 -> 1')
  }

  /** The same tables again. */
  #sameRoot(registers: VtdRegisters): void {
    const { driver, rules, count } = this.#stage
    driver.setRoot(registers)
    rules.rootSet()
    driver.wait()
    count('SRTP')
  }

  /** A root table that lacks a bus, and back. */
  #otherRoot(registers: VtdRegisters): void {
    const { driver, rules, guest, ground, set, count } = this.#stage
    const rootTable = ground.rng.chance(0.2) ? NOWHERE : driver.config.allocate(4096n)
    for (const at of guest.roots) {
      if (rootTable !== NOWHERE && ground.rng.chance(0.5))
        driver.config.write(rootTable + (at - guest.rootTable), driver.config.read(at))
    }
    const other = { ...registers, rootTable }
    driver.setRoot(other)
    rules.rootSet()
    driver.wait()
    set(other)
    this.#some()
    this.#sameRoot(registers)
    set(registers)
    count('another root table')
  }

  /** Modes that block everything. Only ESRTPS allows the change while TE is 1. [VTD 6.6] [VTD 11.4.5] */
  #otherMode(registers: VtdRegisters): void {
    const { driver, rules, ground, set, count } = this.#stage
    const { features, rng } = ground
    const mode = rng.pick(registers.mode === 0 ? [2, 3, 0] : [2, 3])
    const other = { ...registers, mode, ssirwe: mode === 0 }
    // A unit without SSIRWS has the bit reserved; without SMTS or ADMS, the queue may have descriptors of 16 bytes.
    if (mode === 0 && !features.ssirws) return
    const isAtOnce = features.esrtps && rng.chance(0.5)
    if (!isAtOnce) driver.setOn(false)
    driver.setRoot(other)
    if (!isAtOnce) driver.setOn(true)
    set(other)
    this.#some()
    if (!isAtOnce) driver.setOn(false)
    driver.setRoot(registers)
    rules.rootSet()
    driver.wait()
    if (!isAtOnce) driver.setOn(true)
    set(registers)
    count(`TTM ${mode}`)
  }

  /** Legacy mode without a queue: CCMD and IOTLB. [VTD 6.5.1 Register-based Invalidation Interface] */
  #byRegisters(): void {
    const { driver, ground, editor, count } = this.#stage
    if (ground.isScalable || ground.features.version >= 6 || !ground.features.qi) return
    driver.setQueued(false)
    for (let i = ground.rng.between(1, 4); i > 0; i--) {
      editor.edit()
      this.#some()
    }
    driver.setQueued(true)
    count('register-based invalidation')
  }

  #some(): void {
    const { access, ground } = this.#stage
    for (let i = ground.rng.int(4); i > 0; i--) access()
  }
}
