/** What becomes of a guest's commands: the bytes that stand in the unit's queue afterwards, spelled by hand. */

import { beforeEach, describe, expect, it } from 'vitest'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import type { InvalidateResult } from '../../server/core/driver.js'
import { invalidateCommands } from '../given.js'
import { CommandView, SYNC, type Words } from './command-view.js'
import { Ear, NestedGuest, VSID } from './ear.js'
import { PARENT, World } from './world.js'

/** Opcodes. [SMMU 4.1.1 Command opcodes] */
const [CFGI_CD, CFGI_CD_ALL, NH_ALL, NH_ASID, NH_VA, NH_VAA] = [0x05n, 0x06n, 0x10n, 0x11n, 0x12n, 0x13n]
const [NSNH_ALL, ATC_INV] = [0x30n, 0x40n]
const ONES = 0xffff_ffff_ffff_ffffn
/** The unit's name of the device that the guest calls VSID. */
const SID = 8n

let world: World
let guest: NestedGuest
let view: CommandView
let vmid: bigint

/** A guest that has named and attached its device `a`; a unit and a device with ATS, if asked for. */
function start(overrides: object = {}, ats = false): void {
  world = new World(overrides, { ats })
  world.driver.listener = new Ear()
  // So that the guest's VMID is none of those that are likely.
  for (let i = 0; i < 41; i++) world.driver.createPaging(world.a, PARENT)
  guest = new NestedGuest(world)
  guest.viommu.addVdevice(world.a, VSID)
  world.a.set(0, guest.domain(undefined, ats ? (1n << 28n) | 2n : 2n), null)
  vmid = world.ste(world.a)[2] & 0xffffn
  // What attaching has left in the queue goes with it.
  invalidateCommands(guest.viommu, [{ dw0: NH_ALL, dw1: 0n }])
  view = new CommandView(world)
}
beforeEach(() => start())

const give = (...commands: Words[]): InvalidateResult => {
  const list = commands.map(([dw0, dw1]) => ({ dw0, dw1 }))
  const result = invalidateCommands(guest.viommu, list)
  expect(result.completion).toBe(undefined)
  return result
}

/** One command, and what is in the queue then; or its refusal's name when nothing is. */
function queued([dw0, dw1]: Words): unknown {
  const { done, refusal } = give([dw0, dw1])
  const commands = view.take()
  expect(view.errors).toEqual([0, 0])
  expect(done).toBe(refusal === undefined ? 1 : 0)
  if (refusal === undefined) return commands
  expect(commands).toEqual([])
  return refusal.name
}

/** A command with one of its 128 bits. */
const withBit = ([dw0, dw1]: Words, bit: number): Words =>
  bit < 64 ? [dw0 | (1n << BigInt(bit)), dw1] : [dw0, dw1 | (1n << BigInt(bit - 64))]

const byVmid = (dw0: bigint): bigint => (dw0 & ~(0xffffn << 32n)) | (vmid << 32n)
const bySid = (dw0: bigint): bigint => (dw0 & 0xffff_ffffn) | (SID << 32n)
const named = (dw0: bigint): bigint => dw0 | (VSID << 32n)

describe('a guest’s command', () => {
  it('is one of seven, and an eighth where the unit has ATS; any other is EIO, and named', () => {
    const taken = (): number[] => {
      const all = Array.from({ length: 256 }, (_, opcode) => opcode)
      return all.filter((opcode) => {
        const { refusal } = give([named(BigInt(opcode)), 0n])
        if (refusal === undefined) return true
        expect([refusal.name, refusal.context]).toEqual(['EIO', { index: 0, opcode }])
        return false
      })
    }
    const seven = [0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x30]
    // Without ATS nothing can have been kept, and the eighth does nothing.
    expect(taken()).toEqual([...seven, 0x40])
    expect(view.take().filter((command) => command !== SYNC && (command[0] & 0xffn) === ATC_INV)).toEqual([])
    start(PRESETS.ats, true)
    expect(taken()).toEqual([...seven, 0x40])
    expect(view.take().filter((command) => command !== SYNC && (command[0] & 0xffn) === ATC_INV)).toHaveLength(1)
    expect(view.errors).toEqual([0, 0])
  })

  it.each([
    ['TLBI_NH_ALL', NH_ALL],
    ['TLBI_NH_ASID', NH_ASID],
    ['TLBI_NH_VA', NH_VA],
    ['TLBI_NH_VAA', NH_VAA],
  ])('%s has the guest’s VMID, and every other bit as it came', (_name, opcode) => {
    expect(queued([opcode, 0n])).toEqual([[byVmid(opcode), 0n], SYNC])
    for (let bit = 8; bit < 128; bit++) {
      const [dw0, dw1] = withBit([opcode, 0n], bit)
      // A granule, bits 75:74, with neither range nor level is the reserved code. [SMMU 4.4.1.1]
      const isReserved = opcode >= NH_VA && (bit === 74 || bit === 75)
      expect([bit, queued([dw0, dw1])]).toEqual([bit, isReserved ? 'EIO' : [[byVmid(dw0), dw1], SYNC]])
    }
    const full: Words = [opcode | (~0xffn & ONES), ONES]
    expect(queued(full)).toEqual([[byVmid(full[0]), ONES], SYNC])
  })

  it.each([
    ['CFGI_CD', CFGI_CD],
    ['CFGI_CD_ALL', CFGI_CD_ALL],
  ])('%s has the device’s StreamID, and every other bit as it came; SSec is EIO', (_name, opcode) => {
    expect(queued([named(opcode), 0n])).toEqual([[bySid(opcode), 0n], SYNC])
    for (let bit = 8; bit < 128; bit++) {
      if (bit >= 32 && bit < 64) continue
      const [dw0, dw1] = withBit([named(opcode), 0n], bit)
      // SSec is bit 10. [SMMU 4.1.6 Common command fields]
      expect([bit, queued([dw0, dw1])]).toEqual([bit, bit === 10 ? 'EIO' : [[bySid(dw0), dw1], SYNC]])
    }
    const full: Words = [named(opcode) | 0xffff_fb00n, ONES]
    expect(queued(full)).toEqual([[bySid(full[0]), ONES], SYNC])
  })

  it('TLBI_NSNH_ALL becomes TLBI_NH_ALL of its VMID, whatever else it says', () => {
    for (const command of [
      [NSNH_ALL, 0n],
      [NSNH_ALL | (~0xffn & ONES), ONES],
    ] as const) {
      expect(queued(command)).toEqual([[NH_ALL | (vmid << 32n), 0n], SYNC])
    }
  })

  it('ATC_INV has the device’s StreamID and every other bit as it came, behind a SYNC of its own', () => {
    start(PRESETS.ats, true)
    for (let bit = 8; bit < 128; bit++) {
      if (bit >= 32 && bit < 64) continue
      const [dw0, dw1] = withBit([named(ATC_INV), 0n], bit)
      expect([bit, queued([dw0, dw1])]).toEqual([bit, [SYNC, [bySid(dw0), dw1], SYNC]])
    }
    // Size is bits 69:64: 52 is everything, and beyond it is nothing. [SMMU 4.5.1 CMD_ATC_INV]
    for (let size = 0n; size < 64n; size++) {
      const dw0 = named(ATC_INV) | (1n << 11n) | (0xf_ffffn << 12n)
      const expected = size > 52n ? 'EIO' : [SYNC, [bySid(dw0), size], SYNC]
      expect([size, queued([dw0, size])]).toEqual([size, expected])
    }
  })

  it('names its device by the whole of a name of 32 bits, and nothing else', () => {
    const names = [0n, SID, VSID + 1n, VSID | (1n << 31n), 0xffff_ffffn]
    for (const opcode of [CFGI_CD, CFGI_CD_ALL, ATC_INV]) {
      for (const name of names) expect([name, queued([opcode | (name << 32n), 0n])]).toEqual([name, 'EIO'])
    }
    guest.viommu.removeVdevice(world.a)
    expect(queued([named(CFGI_CD), 0n])).toBe('EIO')
    guest.viommu.addVdevice(world.a, 0xffff_fffen)
    expect(queued([CFGI_CD | (0xffff_fffen << 32n), 1n])).toEqual([[CFGI_CD | (SID << 32n), 1n], SYNC])
    // A name that no command can spell. [uAPI struct iommu_vdevice_alloc]
    guest.viommu.removeVdevice(world.a)
    guest.viommu.addVdevice(world.a, (1n << 32n) | VSID)
    expect(queued([named(CFGI_CD), 0n])).toBe('EIO')
  })

  it('for another device of the same vIOMMU reaches that one; one of another vIOMMU is unknown', () => {
    guest.viommu.addVdevice(world.b, 5n)
    expect(queued([CFGI_CD | (5n << 32n) | (9n << 12n), 1n])).toEqual([
      [CFGI_CD | (0x1234n << 32n) | (9n << 12n), 1n],
      SYNC,
    ])
    guest.viommu.removeVdevice(world.b)
    const other = world.driver.createViommu(world.b, guest.parent)
    other.addVdevice(world.b, 5n)
    expect(queued([CFGI_CD | (5n << 32n), 1n])).toBe('EIO')
  })
})

describe('a range of a guest’s TLBI', () => {
  /** TG 75:74, NUM 16:12, SCALE 25:20, TTL 73:72. [SMMU 4.4.1.1 Range-based invalidation and level hint] */
  const range = (opcode: bigint, tg: bigint, num: bigint, scale: bigint, ttl: bigint): Words => [
    opcode | (num << 12n) | (scale << 20n),
    (tg << 10n) | (ttl << 8n),
  ]
  /** Codes that are refused, as `TG NUM SCALE TTL`. */
  const refused = (): string[] => {
    const out: string[] = []
    for (const opcode of [NH_VA, NH_VAA]) {
      for (let tg = 0n; tg < 4n; tg++) {
        for (const num of [0n, 1n, 31n]) {
          for (const scale of [0n, 1n, 31n, 32n, 39n, 63n]) {
            for (let ttl = 0n; ttl < 4n; ttl++) {
              const [dw0, dw1] = range(opcode, tg, num, scale, ttl)
              const answer = queued([dw0, dw1])
              if (answer === 'EIO') out.push(`${opcode.toString(16)}: ${tg} ${num} ${scale} ${ttl}`)
              else expect(answer).toEqual([[byVmid(dw0), dw1], SYNC])
            }
          }
        }
      }
    }
    return out
  }
  const both = (codes: string[]): string[] => ['12', '13'].flatMap((op) => codes.map((code) => `${op}: ${code}`))

  it('without NUM, SCALE and TTL is EIO where there is a granule; without one it says nothing', () => {
    // DS is 0: SCALE has 5 bits, so 32 is 0; TTL 1 of a 16 KiB granule is 0.
    const codes = ['1 0 0 0', '1 0 32 0', '2 0 0 0', '2 0 0 1', '2 0 32 0', '2 0 32 1', '3 0 0 0', '3 0 32 0']
    expect(refused()).toEqual(both(codes))
  })

  it('has a sixth bit of SCALE, and level 1 leaves of 16 KiB granules, where IDR5.DS is 1', () => {
    start({ ...PRESETS.full })
    expect(refused()).toEqual(both(['1 0 0 0', '2 0 0 0', '3 0 0 0']))
  })

  it('says nothing at all where IDR3.RIL is 0', () => {
    start({ IDR3: PRESETS.default.IDR3 & ~(1 << 10) })
    expect(refused()).toEqual([])
  })
})

describe('a list of a guest’s commands', () => {
  const va = (page: number): Words => [NH_VA | (1n << 48n), BigInt(page) << 12n]
  const vaOf = (page: number): Words => [byVmid(va(page)[0]), va(page)[1]]

  it('is queued in order and ends in a SYNC; what devices keep is asked for after that, in order', () => {
    start(PRESETS.ats, true)
    const [first, last] = [named(ATC_INV) | (1n << 11n) | (3n << 12n), named(ATC_INV)]
    give([first, 0x7000n], va(1), [named(CFGI_CD), 1n], [last, 52n], [NSNH_ALL, 0n])
    expect(view.take()).toEqual([
      vaOf(1),
      [bySid(CFGI_CD), 1n],
      [NH_ALL | (vmid << 32n), 0n],
      SYNC,
      [bySid(first), 0x7000n],
      [bySid(last), 52n],
      SYNC,
    ])
  })

  it.each([
    ['an opcode', [0x46n, 0n] as Words],
    ['a StreamID', [CFGI_CD | (1n << 32n), 0n] as Words],
    ['a reserved range', [NH_VA, 1n << 10n] as Words],
    ['SSec', [CFGI_CD_ALL | (VSID << 32n) | (1n << 10n), 0n] as Words],
  ])('that has %s it may not have is done up to there, and nothing behind it is queued', (_name, bad) => {
    for (const at of [0, 1, 7, 200]) {
      const good = Array.from({ length: at }, (_, i) => va(i))
      const { done, refusal } = give(...good, bad, va(0x999), [NSNH_ALL, 0n])
      expect([done, refusal?.name, refusal?.context['index']]).toEqual([at, 'EIO', at])
      expect(view.take()).toEqual(at === 0 ? [] : [...good.map((_, i) => vaOf(i)), SYNC])
    }
  })

  it('may be longer than the queue', () => {
    const before = world.driver.counters()['commands']
    expect(give(...Array.from({ length: 1000 }, (_, i) => va(i))).done).toBe(1000)
    expect(world.driver.counters()['commands'] - before).toBe(1001)
    expect(view.errors).toEqual([0, 0])
  })
})
