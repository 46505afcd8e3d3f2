/** A host with one unit, whose register writes and commands are written down as they reach it. */

import { SparseBacking } from '../../../hw-model/memory/backing.js'
import { Memory } from '../../../hw-model/memory/memory.js'
import type { DevicePort } from '../../../hw-model/port.js'
import {
  type CacheOptions,
  type IdOverrides,
  idRegisters,
  type PresetName,
  SmmuV3,
} from '../../../hw-model/smmuv3/index.js'
import { HostRam } from '../../../server/drivers/host-ram.js'
import { SmmuV3Driver } from '../../../server/drivers/smmuv3/index.js'
import { type Command, REGISTER, type Row } from './recording.js'

/** Where clients' memory is. */
export const CLIENT_RAM = 2 ** 40
const CLIENT_BYTES = 2 ** 31
const PAGE_1 = 0x10000
const STRTAB_BASE = 0x80
const CMDQ_BASE = 0x90

/** A unit behind its driver, listened to. */
export class ListenedHost {
  readonly memory = new Memory()
  readonly ram: HostRam
  readonly driver: SmmuV3Driver
  readonly #unit: SmmuV3
  #rows: Row[] = []
  #prod = 0

  /** Changes commands before the unit sees them: what a driver that is wrong would have given. */
  spoil: ((command: Command) => Command) | null = null

  constructor(overrides: IdOverrides, preset: PresetName = 'default', caches: CacheOptions = {}) {
    this.ram = new HostRam(this.memory, 2 ** 33, 2 ** 31)
    this.memory.place(CLIENT_RAM, new SparseBacking(CLIENT_BYTES))
    const owner = { message: () => undefined, interrupt: () => undefined }
    const devices: DevicePort = {
      invalidateAtc: (invalidation) => this.driver.devicePort.invalidateAtc(invalidation),
      respondToPages: (...answer) => this.driver.devicePort.respondToPages(...answer),
      ended: (...end) => this.driver.devicePort.ended(...end),
    }
    this.#unit = new SmmuV3({ memory: this.memory, owner, devices, id: idRegisters(preset, overrides), caches })
    this.#listen()
    this.driver = new SmmuV3Driver(this.#unit, {
      name: 'smmu0',
      memory: this.memory,
      ram: this.ram,
      onEvent: () => undefined,
    })
  }

  /** What was written since the last time. */
  taken(): readonly Row[] {
    const rows = this.#rows
    this.#rows = []
    return rows
  }

  peek(address: number): bigint {
    this.memory.loadWord(address)
    return (BigInt(this.memory.hi >>> 0) << 32n) | BigInt(this.memory.lo >>> 0)
  }

  poke(address: number, word: bigint): void {
    this.memory.storeWord(address, Number(BigInt.asIntN(32, word)), Number(BigInt.asIntN(32, word >> 32n)))
  }

  register(offset: number, bytes: 4 | 8): bigint {
    const [lo, hi] = this.#unit.readRegister(offset, bytes)
    return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
  }

  /** The eight 64-bit words of a stream's entry, found as the manual says, in a table of two levels with SPLIT 8. */
  ste(sid: number): readonly bigint[] {
    const table = this.register(STRTAB_BASE, 8) & 0xf_ffff_ffff_ffc0n
    const leaf = this.peek(Number(table) + Math.floor(sid / 256) * 8) & 0xf_ffff_ffff_ffc0n
    return this.#words(Number(leaf) + (sid % 256) * 64)
  }

  /** A CD of the linear table that an entry leads to. */
  cd(ste: readonly bigint[], index = 0): readonly bigint[] {
    return this.#words(Number(ste[0] & 0xf_ffff_ffff_ffc0n) + index * 64)
  }

  #words(address: number): readonly bigint[] {
    return Array.from({ length: 8 }, (_, i) => this.peek(address + i * 8))
  }

  /** Commands are read out of the queue when the unit is told of them, as the recorded ones were. */
  #listen(): void {
    const unit = this.#unit
    const write = unit.writeRegister.bind(unit)
    unit.writeRegister = (offset, bytes, lo, hi) => {
      const at = offset >= PAGE_1 ? offset - PAGE_1 : offset
      const value = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
      if (at === REGISTER.CMDQ_PROD) this.#commands(lo)
      this.#rows.push({
        kind: 'register',
        write: { offset: at, bytes, value: bytes === 8 ? value : value & 0xffffffffn },
      })
      write(offset, bytes, lo, hi)
    }
  }

  #replace(slot: number, { dw0, dw1 }: Command): void {
    this.poke(slot, dw0)
    this.poke(slot + 8, dw1)
  }

  #commands(prod: number): void {
    const base = this.register(CMDQ_BASE, 8)
    const slots = 2 ** Number(base & 31n)
    const address = Number(base & 0xf_ffff_ffff_ffe0n)
    for (; this.#prod !== prod; this.#prod = (this.#prod + 1) % (2 * slots)) {
      const slot = address + (this.#prod % slots) * 16
      const command = { dw0: this.peek(slot), dw1: this.peek(slot + 8) }
      if (this.spoil !== null) this.#replace(slot, this.spoil(command))
      this.#rows.push({ kind: 'command', command })
    }
  }
}
