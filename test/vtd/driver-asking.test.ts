/**
 * Devices whose translations somebody else keeps: they are asked to forget when the unit has forgotten, and the unit's
 * own descriptor comes when they have, or have not in time. [VTD 6.5.2.5, 6.5.2.9, 6.5.2.11]
 */

import { describe, expect, it } from 'vitest'
import { Outcome, STATUS } from '../../hw-model/port.js'
import { REGISTER } from '../../hw-model/vtd/index.js'
import {
  type AtsInvalidation,
  DMA_ACCESS,
  type PagingFlags,
  type PagingOps,
  RID_SLOT,
  type UnitListener,
} from '../../server/core/driver.js'
import { invalidateRanges } from '../given.js'
import { Tape } from './driver-tape.js'
import { CLIENT, dma, makeHost, makeParent, makeUser, PLAIN } from './host.js'

const RID = 0x1008
const RW = { read: true, write: true }
/** The default registers with DT, bit 2. */
const ATS = { ECAP: [0x84000fc7, 0x0013e99c] } as const
const TRACKED: PagingFlags = { nestParent: false, dirtyTracking: true, pasid: false }

/** Keeps whoever asks waiting. */
class Slow implements UnitListener {
  readonly asked: AtsInvalidation[] = []
  readonly #answers: ((isDone: boolean) => void)[] = []
  holdsSomething = true

  invalidate(_device: unknown, invalidation: AtsInvalidation): Promise<boolean> | undefined {
    if (!this.holdsSomething) return undefined
    this.asked.push({ ...invalidation })
    return new Promise((resolve) => this.#answers.push(resolve))
  }

  /** Answers all who wait. */
  answer(isDone: boolean): void {
    for (const resolve of this.#answers.splice(0)) resolve(isDone)
  }

  pageFault(): boolean {
    return false
  }

  viommuEvent(): boolean {
    return false
  }

  ended(): void {}

  respondToPages(): void {}
}

function setUp(preset?: 'vtd-legacy') {
  const host = makeHost(preset === undefined ? { overrides: ATS } : { preset, overrides: { ECAP: [0xfc7, 0] } })
  const slow = new Slow()
  host.driver.listener = slow
  const device = host.probe(RID, true)
  const tape = new Tape(host)
  const domain = host.driver.createPaging(device, PLAIN)
  domain.map(0x1000n, CLIENT, 0x4000n, RW)
  device.set(RID_SLOT, domain, null)
  const fsts = (): number => host.driver.unit.readRegister(REGISTER.FSTS, 4)[0]
  return { host, slow, device, tape, domain, fsts }
}

const unmap = (domain: PagingOps) => {
  domain.unmap(0x2000n, 0x1000n)
  return domain.flush()
}

describe('a device that keeps translations', () => {
  it('is asked when the unit has forgotten; the unit’s descriptor waits for its answer', async () => {
    const { slow, device, tape, domain } = setUp()
    dma(device, 0x2000n)
    tape.clear()
    const done = unmap(domain)
    expect(tape.lines(0, 0)).toEqual(['0x20036 0x2040', 'wait'])
    expect(dma(device, 0x2000n)).toBe('0x71 SFS.2')
    expect(slow.asked).toEqual([{ pasid: -1, allPasids: false, lo: 0x2000, hi: 0, sizeLg2: 12 }])
    tape.clear()
    slow.answer(true)
    expect(tape.lines(0, 0)).toEqual([])
    await done
    expect(tape.lines(0, 0)).toEqual(['0x100800000003 0x2000', 'wait'])
  })

  it('is not waited for where nobody holds any of it', () => {
    const { slow, tape, domain } = setUp()
    slow.holdsSomething = false
    tape.clear()
    expect(unmap(domain)).toBeUndefined()
    expect(tape.descriptors()).toEqual(['0x20036 0x2040', '0x100800000003 0x2000'])
  })

  it('is asked of each slot: of all of it in replaces, detaches, and when the log of writes is switched', async () => {
    const { host, slow, device, domain } = setUp()
    const tracked = host.driver.createPaging(device, TRACKED)
    const everything = (pasid: number): AtsInvalidation => ({ pasid, allPasids: false, lo: 0, hi: 0, sizeLg2: 64 })
    const asked = async (run: () => Promise<void> | undefined): Promise<AtsInvalidation[]> => {
      const done = run()
      expect(done).toBeInstanceOf(Promise)
      slow.answer(true)
      await done
      return slow.asked.splice(0)
    }
    expect(device.set(5, tracked, null)).toBeUndefined()
    expect(await asked(() => device.set(RID_SLOT, tracked, domain))).toEqual([everything(-1)])
    expect(await asked(() => tracked.dirty?.setTracking(true))).toEqual([everything(5), everything(-1)])
    expect(await asked(() => device.set(5, domain, tracked))).toEqual([everything(5)])
    expect(await asked(() => device.clear(5, domain))).toEqual([everything(5)])
    expect(await asked(() => device.clear(RID_SLOT, tracked))).toEqual([everything(-1)])
  })

  it('is asked in a nested replace in place, and for a guest’s own invalidation', async () => {
    const { host, slow, device } = setUp()
    const parent = makeParent(host, device)
    const [one, two] = [0x1000, 0x2000].map((root) => makeUser(host, device, parent, root))
    device.set(5, one, null)
    const done = device.set(5, two, one)
    expect([device.lastSetWasHitless, done]).toEqual([true, expect.any(Promise)])
    const result = invalidateRanges(two, [{ addr: 0x8000n, npages: 4n, flags: 1 }])
    expect(result.done).toBe(1)
    slow.answer(true)
    await Promise.all([done, result.completion])
    expect(slow.asked.map(({ pasid, lo, sizeLg2 }) => [pasid, lo, sizeLg2])).toEqual([
      [5, 0, 64],
      [5, 0x8000, 14],
    ])
  })

  it('is asked in legacy mode too, and its slot is free meanwhile', async () => {
    const { host, slow, device, tape, domain } = setUp('vtd-legacy')
    const done = device.clear(RID_SLOT, domain)
    const other = host.driver.createPaging(device, PLAIN)
    other.map(0x1000n, CLIENT + 0x9000, 0x1000n, RW)
    expect(device.set(RID_SLOT, other, null)).toBeUndefined()
    expect(dma(device, 0x1004n)).toBe('0x100009004')
    tape.clear()
    slow.answer(true)
    await done
    expect(tape.descriptors()).toEqual(['0x100800000003 0x7ffffffffffff001'])
  })
})

describe('a device that does not answer in time', () => {
  it('fails its own descriptor, ITE, from which the queue recovers, and nobody else’s', async () => {
    const { host, slow, device, tape, domain, fsts } = setUp()
    const other = host.probe(0x2010, true)
    other.set(RID_SLOT, domain, null)
    let told = -1
    const write = host.driver.unit.writeRegister.bind(host.driver.unit)
    host.driver.unit.writeRegister = (offset, bytes, lo, hi) => {
      // IQERCD.ITESID, bits 47:32, while ITE, bit 6, is being cleared.
      if (offset === REGISTER.FSTS && (lo & 0x40) !== 0) {
        told = host.driver.unit.readRegister(REGISTER.IQERCD, 8)[1] & 0xffff
      }
      write(offset, bytes, lo, hi)
    }
    tape.clear()
    const done = unmap(domain)
    expect(slow.asked.length).toBe(2)
    slow.answer(false)
    await done
    expect(tape.descriptors()).toEqual(['0x20036 0x2040', '0x100800000003 0x2000', '0x201000000003 0x2000'])
    expect([told, fsts()]).toEqual([0x2010, 0])
    // The queue goes on.
    slow.holdsSomething = false
    domain.unmap(0x3000n, 0x1000n)
    expect(domain.flush()).toBeUndefined()
    expect(dma(device, 0x3000n)).toBe('0x71 SFS.2')
    expect(dma(device, 0x1000n)).toBe('0x100000000')
  })

  it('fails beside one that does, whose descriptor is complete', async () => {
    const { host, slow, tape, domain, fsts } = setUp()
    host.probe(0x2010, true).set(RID_SLOT, domain, null)
    const ask = slow.invalidate.bind(slow)
    slow.invalidate = (device, invalidation) =>
      slow.asked.length === 0 ? ask(device, invalidation) : Promise.resolve(true)
    tape.clear()
    const done = unmap(domain)
    slow.answer(false)
    await done
    expect(tape.lines(0, 0).slice(2)).toEqual(['0x201000000003 0x2000', 'wait', '0x100800000003 0x2000', 'wait'])
    expect(fsts()).toBe(0)
  })
})

describe('translation requests', () => {
  it('are answered by the unit: rights of the page, and none where there is no page or no domain', () => {
    const { device } = setUp()
    const out = new Outcome()
    const ask = (at: number, pasid = -1): number[] => {
      device.ats?.request(pasid, at, 0, DMA_ACCESS.READ | DMA_ACCESS.WRITE, out)
      return out.status === STATUS.OK ? [out.status, out.rights, out.rights === 0 ? 0 : out.address] : [out.status]
    }
    expect(ask(0x1000)).toEqual([STATUS.OK, 3, CLIENT])
    expect(ask(0x9000)).toEqual([STATUS.OK, 0, 0])
    expect(ask(0x1000, 5)).toEqual([STATUS.OK, 0, 0])
  })

  it('give addresses that pass as they are, and only while the context entry lets them', () => {
    const { host, device } = setUp()
    const out = new Outcome()
    device.ats?.translated(-1, CLIENT % 2 ** 32, CLIENT / 2 ** 32, DMA_ACCESS.WRITE, out)
    expect([out.status, out.address]).toEqual([STATUS.OK, CLIENT])
    const deaf = host.probe(0x3000, false)
    expect(deaf.ats).toBeUndefined()
  })
})
