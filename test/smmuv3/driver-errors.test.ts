/**
 * What the host driver does when its unit stops or fails, register by register. The expected side is Linux's handler: a
 * command that is illegal becomes a CMD_SYNC, everything else is tried again, and GERRORN takes GERROR's value at the end.
 */

import { beforeEach, describe, expect, it } from 'vitest'
import { MEMORY } from '../../hw-model/memory/memory.js'
import { ACCESS, Outcome, STATUS } from '../../hw-model/port.js'
import { FaultInfo } from '../../hw-model/smmuv3/events.js'
import { EVENT, PRESETS } from '../../hw-model/smmuv3/index.js'
import type { PagingOps, Refusal } from '../../server/core/driver.js'
import { invalidateCommands } from '../given.js'
import { Ear, NestedGuest, VSID } from './ear.js'
import { VA, WindowWorld } from './window-world.js'
import { GUEST_RAM, PLAIN, RW, refusal, World } from './world.js'

/** IDR0.ATS is bit 10, PRI bit 16; IDR1.PRIQS bits 15:11. */
const IDS = { IDR0: PRESETS.default.IDR0 | (1 << 10) | (1 << 16), IDR1: PRESETS.default.IDR1 | (8 << 11) }

/** Registers whose writes count here. */
const NAMES = new Map([
  [0x20, 'CR0'],
  [0x44, 'GBPA'],
  [0x64, 'GERRORN'],
])

let world: World
let ear: Ear
let domain: PagingOps
/** `name value` of each write. */
let writes: string[]

beforeEach(() => {
  world = new World(IDS, { ats: true, pri: true })
  ear = new Ear()
  world.driver.listener = ear
  domain = world.driver.createPaging(world.a, PLAIN)
  domain.map(0x1000n, GUEST_RAM, 0x4000n, RW)
  world.a.set(0, domain, null)
  writes = []
  const { unit } = world.driver
  const write = unit.writeRegister.bind(unit)
  unit.writeRegister = (offset, bytes, lo, hi) => {
    const name = NAMES.get(offset)
    if (name !== undefined) writes.push(`${name} ${(lo >>> 0).toString(16)}`)
    write(offset, bytes, lo, hi)
  }
})

const names = (): string[] => world.reports.map(({ name }) => name)
/** GERROR equals GERRORN: nothing waits to be acknowledged. */
const isQuiet = (): boolean => world.register(0x60, 4) === world.register(0x64, 4)
/** Where a queue is: its base register, without LOG2SIZE and hints. */
const baseOf = (offset: number): number => Number(world.register(offset, 8) & 0xff_ffff_ffff_ffe0n)

/** Lets the next `count` reads or writes of a queue abort. */
function breakQueue(base: number, how: 'loadRecord' | 'storeRecord', count: number): void {
  const { memory } = world
  const real = memory[how].bind(memory)
  let left = count
  memory[how] = (address, words, at, length) => {
    const isHit = address >= base && address < base + 2 ** 20 && left > 0
    if (isHit) left--
    return isHit ? MEMORY.ABORT : real(address, words, at, length)
  }
}

/** Writes a command over the first that the unit would take next. */
function plant(word0: bigint): number {
  const { unit } = world.driver
  const write = unit.writeRegister.bind(unit)
  const at = baseOf(0x90) + Number(world.register(0x9c, 4) & 0xfffffn) * 16
  unit.writeRegister = (offset, bytes, lo, hi) => {
    if (offset === 0x98) {
      world.poke(at, word0)
      unit.writeRegister = write
    }
    write(offset, bytes, lo, hi)
  }
  return at
}

describe('a command that the unit cannot carry out', () => {
  it('becomes a CMD_SYNC, is told with its words and acknowledged, and what follows is carried out', () => {
    for (const page of [0x1000n, 0x3000n]) expect(world.dma(world.a, page)).toMatch(/^ok/)
    domain.unmap(0x1000n, 0x1000n)
    domain.unmap(0x3000n, 0x1000n)
    const at = plant(0xffn)
    domain.flush()
    expect(writes).toEqual(['GERRORN 1'])
    // CMD_SYNC is 0x46; CS, bits 13:12, is 2 (SEV), MSH 3, MSIAttr 0xf.
    expect(world.peek(at)).toBe(0x0fc0_2046n)
    const { name, facts } = world.reports[0]
    expect([name, facts['command']]).toMatchObject(['CERROR_ILL', expect.stringMatching(/^0xff 0x[0-9a-f]+$/)])
    // The first TLBI is what was overwritten; the second did its work.
    expect([world.dma(world.a, 0x1000n), world.dma(world.a, 0x3000n)]).toEqual(['ok 10000000000', 'F_TRANSLATION'])
    expect([isQuiet(), world.driver.counters()]).toMatchObject([true, { CERROR_ILL: 1, failed: 0 }])
  })

  it('is acknowledged by a toggle: each time GERRORN takes the other value', () => {
    for (const _ of [1, 2, 3]) {
      domain.unmap(0x1000n, 0x1000n)
      plant(0xffn)
      domain.flush()
      domain.map(0x1000n, GUEST_RAM, 0x1000n, RW)
    }
    expect(writes).toEqual(['GERRORN 1', 'GERRORN 0', 'GERRORN 1'])
  })
})

describe('a command queue whose memory is not there', () => {
  const flush = (): void => {
    domain.unmap(0x1000n, 0x1000n)
    domain.flush()
  }

  it('is tried again, and goes on when it is there again', () => {
    world.dma(world.a, 0x1000n)
    breakQueue(baseOf(0x90), 'loadRecord', 3)
    flush()
    expect([names(), writes]).toEqual([
      ['CERROR_ABT', 'CERROR_ABT', 'CERROR_ABT'],
      ['GERRORN 1', 'GERRORN 0', 'GERRORN 1'],
    ])
    expect([world.dma(world.a, 0x1000n), world.driver.failure]).toEqual(['F_TRANSLATION', undefined])
  })

  it('is given up after eight tries: DMA aborts, the unit is off, and the operator is told why', () => {
    breakQueue(baseOf(0x90), 'loadRecord', Number.POSITIVE_INFINITY)
    flush()
    expect(names()).toEqual([...Array<string>(9).fill('CERROR_ABT'), 'CERROR_ABT'])
    expect(world.reports.at(-1)).toMatchObject({ isFailure: true, facts: { what: /the command queue stood still/ } })
    // GBPA: Update, ABORT, SHCFG 1. CR0: everything off.
    expect(writes.slice(-3)).toEqual(['GBPA 80101000', 'CR0 0', expect.stringMatching(/^GERRORN/)])
    expect(world.dma(world.a, 0x2000n)).toBe('aborted')
    expect(world.driver.counters()).toMatchObject({ CERROR_ABT: 9, failed: 1 })
  })
})

describe('errors that come together', () => {
  it('are handled in the order of Linux’s handler, the command queue last, and acknowledged by one write', () => {
    breakQueue(baseOf(0xa0), 'storeRecord', 1)
    world.driver.unit.events.record(EVENT.F_TRANSLATION, new FaultInfo())
    domain.unmap(0x1000n, 0x1000n)
    plant(0xffn)
    domain.flush()
    expect([names(), writes, isQuiet()]).toEqual([['EVENTQ_ABT_ERR', 'CERROR_ILL'], ['GERRORN 5'], true])
  })

  it('with SFM_ERR among them are told too, after the unit is off, and nothing is tried again', () => {
    breakQueue(baseOf(0xa0), 'storeRecord', 1)
    world.driver.unit.events.record(EVENT.F_TRANSLATION, new FaultInfo())
    world.driver.unit.fail()
    domain.unmap(0x1000n, 0x1000n)
    domain.flush()
    expect([names(), writes]).toEqual([
      ['SFM_ERR', 'EVENTQ_ABT_ERR'],
      ['GBPA 80101000', 'CR0 0', 'GERRORN 104'],
    ])
  })
})

describe('a queue of records whose memory is not there', () => {
  it('loses an event and tells so; the next one arrives', () => {
    breakQueue(baseOf(0xa0), 'storeRecord', 1)
    expect(world.dma(world.a, 0x9000n)).toBe('F_TRANSLATION')
    expect([names(), writes, isQuiet()]).toEqual([['EVENTQ_ABT_ERR'], ['GERRORN 4'], true])
    world.dma(world.a, 0x9000n)
    expect(names()).toEqual(['EVENTQ_ABT_ERR', 'F_TRANSLATION'])
  })

  it('answers a page request Failure and tells so; the next one arrives', () => {
    domain.takesFaults = true
    const ask = (group: number): unknown =>
      world.a.ats?.requestPage({ pasid: -1, lo: 0x9000, hi: 0, access: ACCESS.READ, group, isLast: true })
    breakQueue(baseOf(0xc0), 'storeRecord', 1)
    ask(1)
    expect([ear.answers, ear.faults, names(), writes]).toEqual([['8 -1 1 15'], [], ['PRIQ_ABT_ERR'], ['GERRORN 8']])
    ask(2)
    expect(ear.faults.map(({ group }) => group)).toEqual([2])
  })
})

describe("a SYNC's message that is not written", () => {
  it('is told, and the driver goes on, as the SYNC itself is complete', () => {
    const { memory } = world
    domain.unmap(0x1000n, 0x1000n)
    const real = memory.store32.bind(memory)
    // The message is the 0 that goes over the SYNC, CMD_SYNC being 0x46.
    memory.store32 = (address, value) => {
      const isHit = value === 0 && address >= baseOf(0x90) && (world.peek(address) & 0xffn) === 0x46n
      if (isHit) memory.store32 = real
      return isHit ? MEMORY.ABORT : real(address, value)
    }
    domain.flush()
    expect([names(), writes, isQuiet()]).toEqual([['MSI_CMDQ_ABT_ERR'], ['GERRORN 10'], true])
    expect(world.dma(world.a, 0x1000n)).toBe('F_TRANSLATION')
  })
})

describe('a device that does not complete an invalidation', () => {
  const translated = (): number => {
    const out = new Outcome()
    world.a.ats?.translated(-1, GUEST_RAM % 2 ** 32, GUEST_RAM / 2 ** 32, ACCESS.READ, out)
    return out.status
  }
  const late = async (): Promise<void> => {
    ear.holds = Promise.resolve(false)
    domain.unmap(0x1000n, 0x1000n)
    await domain.flush()
    ear.holds = undefined
  }
  /** V is set and Config is 0: abort. */
  const ABORT = [1n, 0n, 0n, 0n, 0n, 0n, 0n, 0n]

  it('fails one SYNC, which is given again', async () => {
    await late()
    expect([names(), writes, isQuiet()]).toEqual([['CERROR_ATC_INV_SYNC'], ['GERRORN 1'], true])
    expect(world.driver.counters()).toMatchObject({ CERROR_ATC_INV_SYNC: 1, atcTimeouts: 1 })
  })

  it('is blocked by its STE, translated and untranslated, and nobody else is', async () => {
    world.b.set(0, domain, null)
    expect(translated()).toBe(STATUS.OK)
    await late()
    expect([world.ste(world.a), translated(), world.dma(world.a, 0x2000n)]).toEqual([ABORT, STATUS.ABORTED, 'aborted'])
    expect(world.dma(world.b, 0x2000n)).toBe('ok 10000001000')
  })

  it('has its STE back after a reset, ATS on', async () => {
    const before = world.ste(world.a)
    await late()
    world.a.reset([])
    expect(world.ste(world.a)).toEqual(ABORT)
    world.a.reset()
    expect([world.ste(world.a), translated(), world.dma(world.a, 0x2000n)]).toEqual([
      before,
      STATUS.OK,
      'ok 10000001000',
    ])
  })

  it('may be attached, replaced and detached meanwhile; the reset brings what is attached then', async () => {
    await late()
    ear.asked.length = 0
    const other = world.driver.createPaging(world.a, PLAIN)
    other.map(0x1000n, GUEST_RAM + 0x8000, 0x1000n, RW)
    world.a.set(0, other, domain)
    expect([world.ste(world.a), world.dma(world.a, 0x1000n), ear.asked]).toEqual([ABORT, 'aborted', []])
    world.a.clear(0, other)
    expect(world.ste(world.a)).toEqual(ABORT)
    world.a.set(0, other, null)
    expect(world.ste(world.a)).toEqual(ABORT)
    world.a.reset()
    expect(world.dma(world.a, 0x1000n)).toBe('ok 10000008000')
    world.a.clear(0, other)
    expect(world.ste(world.a)).toEqual(ABORT)
  })

  it('is asked no more while it is blocked', async () => {
    await late()
    ear.asked.length = 0
    domain.unmap(0x2000n, 0x1000n)
    expect([domain.flush(), ear.asked]).toEqual([undefined, []])
  })

  it('is not blocked for a reset that came before the others had answered', async () => {
    const answers: ((isDone: boolean) => void)[] = []
    ear.invalidate = () => new Promise((resolve) => answers.push(resolve))
    world.a.clear(0, domain)
    const next = world.driver.createPaging(world.a, PLAIN)
    next.map(0x1000n, GUEST_RAM, 0x4000n, RW)
    const attaching = world.a.set(0, next, null)
    next.unmap(0x1000n, 0x1000n)
    const unmapping = next.flush()
    answers[0](false)
    await Promise.resolve()
    await Promise.resolve()
    world.a.reset()
    for (const answer of answers) answer(true)
    await Promise.all([attaching, unmapping])
    expect(world.dma(world.a, 0x2000n)).toBe('ok 10000001000')
  })

  it('that has mediated children is not cut off by its STE, which is theirs too', async () => {
    const shared = world.driver.probe({ rid: 0x40, pasidLg2: 8, ats: true, pri: false, mediatedPasids: [7] })
    shared.set(0, domain, null)
    world.a.clear(0, domain)
    await late()
    expect(world.dma(shared, 0x2000n)).toBe('ok 10000001000')
  })

  it('makes the call for its guest answer ETIMEDOUT, with all but the last command done', async () => {
    world.a.clear(0, domain)
    const guest = new NestedGuest(world)
    guest.viommu.addVdevice(world.a, VSID)
    // EATS of the guest's STE, bits 93:92, is 1.
    world.a.set(0, guest.domain(undefined, 2n | (1n << 28n)), null)
    ear.holds = Promise.resolve(false)
    const result = invalidateCommands(guest.viommu, [
      { dw0: 0x10n, dw1: 0n },
      { dw0: 0x40n | (VSID << 32n), dw1: 52n },
    ])
    expect([result.done, result.refusal, result.failure?.()]).toEqual([2, undefined, undefined])
    await result.completion
    expect(result.failure?.()).toMatchObject({ name: 'ETIMEDOUT', context: { index: 1 } })
  })
})

describe('a device on a window that does not complete an invalidation', () => {
  it('makes the call for its root ETIMEDOUT, and has its window back after a reset', async () => {
    const windows = new WindowWorld(IDS, { ats: true, pri: true }, { pages: 3n })
    windows.driver.listener = ear
    windows.a.set(0, windows.window, null)
    const root = windows.root(1)
    windows.a.set(3, root, null)
    const before = windows.ste(windows.a)
    ear.holds = Promise.resolve(false)
    const result = windows.invalidate(root, { addr: 0x5000n, npages: 1n, flags: 0 })
    await result.completion
    expect(result.failure?.()).toMatchObject({ name: 'ETIMEDOUT', context: { index: 0 } })
    // PASIDs come and go meanwhile, and the entry stays an abort.
    windows.a.set(70, root, null)
    expect(windows.ste(windows.a)[0]).toBe(1n)
    windows.a.clear(70, root)
    windows.a.reset()
    const [first, ...rest] = before
    expect([windows.ste(windows.a)[0] & 0xfn, windows.ste(windows.a).slice(1)]).toEqual([first & 0xfn, rest])
    expect(windows.dma(windows.a, VA, 3)).toMatch(/^ok/)
  })
})

describe('a unit in Service Failure Mode', () => {
  const fail = async (): Promise<void> => {
    world.driver.unit.fail()
    await Promise.resolve()
  }

  it('is switched off as Linux does it, and aborts', async () => {
    await fail()
    // SFM_ERR is bit 8.
    expect(writes).toEqual(['GBPA 80101000', 'CR0 0', 'GERRORN 100'])
    expect(world.reports).toMatchObject([{ name: 'SFM_ERR', isFailure: true }])
    expect([world.dma(world.a, 0x1000n), world.driver.counters()]).toMatchObject(['aborted', { SFM_ERR: 1, failed: 1 }])
  })

  it('has aborted before anybody looks', () => {
    world.driver.unit.fail()
    expect(world.dma(world.a, 0x1000n)).toBe('aborted')
    const out = new Outcome()
    world.a.ats?.request(-1, 0x1000, 0, ACCESS.READ, out)
    expect(out.status).toBe(STATUS.COMPLETER_ABORT)
  })

  it('takes nothing up: attaching is EIO and names the unit, a guest’s commands are ETIMEDOUT', async () => {
    const guest = new NestedGuest(world)
    guest.viommu.addVdevice(world.b, VSID)
    await fail()
    expect(refusal(() => world.b.set(0, domain, null))).toBe('EIO')
    const next = world.driver.createPaging(world.a, PLAIN)
    expect(refusal(() => world.a.set(0, next, domain))).toBe('EIO')
    try {
      invalidateCommands(guest.viommu, [{ dw0: 0x10n, dw1: 0n }])
      expect.unreachable()
    } catch (error) {
      const { name, message, context } = error as Refusal
      expect([name, context]).toEqual(['ETIMEDOUT', { unit: 'smmu0' }])
      expect(message).toMatch(/smmu0 is switched off: .*Service Failure Mode/)
    }
  })

  it('lets go of everything: unmapping, detaching, resetting and destroying end, without waiting for devices', async () => {
    await fail()
    ear.holds = new Promise(() => undefined)
    domain.unmap(0x1000n, 0x1000n)
    expect([domain.flush(), world.a.clear(0, domain), world.a.reset(), domain.destroy()]).toEqual(
      Array<undefined>(4).fill(undefined),
    )
  })

  it('found in the middle of a call ends the call', () => {
    world.driver.unit.fail()
    expect(() => {
      domain.unmap(0x1000n, 0x1000n)
      domain.flush()
    }).not.toThrow()
    expect([world.driver.failure, writes[0]]).toEqual(['the unit is in Service Failure Mode', 'GBPA 80101000'])
  })

  it('is told once, and nobody hears of it again', async () => {
    await fail()
    await fail()
    domain.unmap(0x1000n, 0x1000n)
    domain.flush()
    expect(names()).toEqual(['SFM_ERR'])
  })
})
