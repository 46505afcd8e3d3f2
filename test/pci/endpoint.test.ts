import { beforeEach, describe, expect, it } from 'vitest'
import { ACCESSED, Endpoint, type EndpointOptions } from '../../hw-model/pci/endpoint.js'
import { Functions } from '../../hw-model/pci/functions.js'
import { ACCESS, NO_DEVICES, NO_PASID, Outcome, PAGE_RESPONSE, Transaction } from '../../hw-model/port.js'
import { CONFIG, OFFSET } from '../../hw-model/smmuv3/index.js'
import { AtsBench, CR0, IPA, PA, SID, VA } from '../smmuv3/ats-bench.js'
import { contextFields, S1, S2 } from '../smmuv3/bench.js'

const { READ, WRITE, EXECUTE, PRIVILEGED } = ACCESS
const SYNC: [bigint, bigint] = [0x46n, 0n]
const TLBI: [bigint, bigint] = [0x30n, 0n]
/** For SID 3: everything without a PASID. */
const ATC_INV: [bigint, bigint] = [0x0000000300000040n, 0x34n]

let functions: Functions
let bench: AtsBench

beforeEach(() => {
  functions = new Functions()
  bench = new AtsBench({ devices: functions })
})

function plug(options: Partial<EndpointOptions> = {}): Endpoint {
  const endpoint = new Endpoint(bench.unit, { rid: SID, ...options })
  functions.add(endpoint)
  return endpoint
}

/** A DMA of a function; how it went, and how it ended where there was one. */
function dma(
  endpoint: Endpoint,
  va: bigint,
  { access = READ, pasid = NO_PASID }: { access?: number; pasid?: number } = {},
): string {
  const transaction = new Transaction()
  Object.assign(transaction, { lo: Number(va & 0xffffffffn), hi: Number(va >> 32n), access, pasid })
  const outcome = new Outcome()
  const went = endpoint.access(transaction, outcome)
  if (went === ACCESSED.DONE) return bench.describe(outcome)
  return { [ACCESSED.DENIED]: 'denied', [ACCESSED.REQUESTED]: 'requested', [ACCESSED.ABORTED]: 'CA' }[went] ?? '?'
}

describe('a function with ATS', () => {
  it('asks once for each page and then uses what it was granted', () => {
    bench.switch(1).stageOne()
    const endpoint = plug()
    expect([dma(endpoint, VA + 1n), dma(endpoint, VA + 2n)]).toEqual(['ok 80000001', 'ok 80000002'])
    expect([endpoint.requests, endpoint.translated, endpoint.atc.hits]).toEqual([1, 2, 1])
  })

  it('asks again for a right that it was not granted yet', () => {
    bench.stageOne()
    const endpoint = plug()
    expect(dma(endpoint, VA)).toBe('ok 80000000')
    expect(dma(endpoint, VA, { access: WRITE })).toBe('ok 80000000')
    expect(dma(endpoint, VA)).toBe('ok 80000000')
    expect(endpoint.requests).toBe(2)
  })

  it('makes no DMA that it was not granted', () => {
    bench.stageOne({}, S1.RO)
    const endpoint = plug()
    expect(dma(endpoint, VA, { access: WRITE })).toBe('denied')
    expect(dma(endpoint, VA + 0x1000n)).toBe('denied')
    expect([endpoint.translated, bench.events()]).toEqual([0, []])
  })

  it('tells its PASIDs and privileges apart', () => {
    bench.stageOne({ S1CDMax: 2, S1DSS: 2 }, (S1.RW & ~0xc0n) | (1n << 54n))
    bench.cd(bench.cdTable + 64, contextFields(8, bench.s1))
    const endpoint = plug()
    expect(dma(endpoint, VA, { pasid: 1, access: READ | PRIVILEGED })).toBe('ok 80000000')
    expect(dma(endpoint, VA, { pasid: 1 })).toBe('denied')
    // Without a PASID privilege means nothing.
    expect(dma(endpoint, VA, { access: READ | PRIVILEGED })).toBe('denied')
    expect(dma(endpoint, VA, { pasid: 1, access: READ | EXECUTE | PRIVILEGED })).toBe('ok 80000000')
  })

  it('keeps IPAs under split-stage ATS, which stage 2 translates every time', () => {
    bench.switch(1).nested({ EATS: 2 })
    const endpoint = plug()
    expect(dma(endpoint, VA)).toBe('ok a0000000')
    expect(endpoint.atc.find(NO_PASID, false, Number(VA & 0xffffffffn), Number(VA >> 32n))).toBe(true)
    expect(endpoint.atc.address).toBe(Number(IPA))
    bench.map(bench.s2, IPA, 0x70000000n | S2.RW)
    bench.commands(TLBI, SYNC)
    expect(dma(endpoint, VA)).toBe('ok 70000000')
  })

  it('switches ATS off when it is answered UR, and goes on untranslated', () => {
    bench.stageOne({ EATS: 0 })
    const endpoint = plug()
    expect(dma(endpoint, VA)).toBe('ok 80000000')
    expect([endpoint.hasAts, endpoint.translated]).toEqual([false, 0])
    expect(dma(endpoint, VA)).toBe('ok 80000000')
    expect(endpoint.requests).toBe(1)
  })

  it('makes no DMA when it is answered CA', () => {
    const endpoint = plug()
    expect(dma(endpoint, VA)).toBe('CA')
    expect(endpoint.hasAts).toBe(true)
  })

  it('does without ATS as any other', () => {
    bench.stageOne()
    const endpoint = plug()
    endpoint.hasAts = false
    expect(dma(endpoint, VA)).toBe('ok 80000000')
    expect(endpoint.requests).toBe(0)
  })
})

describe('a translation that was taken back', () => {
  /** The page is unmapped as the manual asks, up to the ATC. */
  const unmap = (): void => {
    bench.map(bench.s1, VA, 0n)
    bench.commands(TLBI, SYNC)
  }

  it('is used until the device is told, and never after the SYNC', () => {
    bench.stageOne()
    const endpoint = plug()
    dma(endpoint, VA)
    unmap()
    expect(dma(endpoint, VA)).toBe(`ok ${PA.toString(16)}`)
    bench.commands(ATC_INV, SYNC)
    expect(dma(endpoint, VA)).toBe('denied')
  })

  it('holds the SYNC as long as the device is not told to answer', () => {
    bench.stageOne()
    const endpoint = plug({ waitsToBeTold: true })
    dma(endpoint, VA)
    unmap()
    bench.commands(ATC_INV, ATC_INV, SYNC)
    const cons = (): number => bench.read(OFFSET.CMDQ_CONS)
    expect([cons(), endpoint.heldTags.length, dma(endpoint, VA)]).toEqual([4, 2, 'ok 80000000'])
    endpoint.answer()
    expect([cons(), endpoint.heldTags, dma(endpoint, VA)]).toEqual([5, [], 'denied'])
  })

  it('is kept by a forgetful device, which says that it obeyed', () => {
    bench.stageOne()
    const endpoint = plug({ isForgetful: true })
    dma(endpoint, VA)
    unmap()
    bench.commands(ATC_INV, SYNC)
    expect(bench.read(OFFSET.CMDQ_CONS)).toBe(4)
    expect(dma(endpoint, VA)).toBe('ok 80000000')
  })

  it('may be answered after its time: nobody waits for it any more', () => {
    bench.stageOne()
    const endpoint = plug({ waitsToBeTold: true })
    bench.commands(ATC_INV, SYNC)
    for (const tag of endpoint.heldTags) bench.unit.ats?.timedOut(tag)
    expect(bench.read(OFFSET.CMDQ_CONS)).toBe(0x03000001)
    endpoint.answer()
    expect(endpoint.heldTags).toEqual([])
  })
})

describe('a function with PRI', () => {
  const pasids = { S1CDMax: 2, S1DSS: 2 }
  let queue: number

  beforeEach(() => {
    queue = bench.alloc()
    bench.write64(OFFSET.PRIQ_BASE, queue + 4)
    bench.write(OFFSET.CR0, CR0.ON | CR0.PRIQEN)
    bench.stageOne(pasids, 0n)
    bench.cd(bench.cdTable + 64, contextFields(8, bench.s1))
  })
  /** Answers group 1 of PASID 1 with Success. */
  const RESP: [bigint, bigint] = [0x0000000300001841n, 0x2001n]

  it('requests the page, hears the answer, and gets it', () => {
    const endpoint = plug({ hasPri: true })
    expect(dma(endpoint, VA + 8n, { pasid: 1, access: WRITE })).toBe('requested')
    expect([bench.peek(queue), bench.peek(queue + 8)]).toEqual([0xe000000100000003n, VA | 1n])
    expect([endpoint.waitingGroups, endpoint.answerTo(1)]).toEqual([[1], undefined])
    bench.map(bench.s1, VA, PA | S1.RW)
    bench.commands(RESP)
    expect([endpoint.waitingGroups, endpoint.answerTo(1)]).toEqual([[], PAGE_RESPONSE.SUCCESS])
    expect(dma(endpoint, VA + 8n, { pasid: 1, access: WRITE })).toBe('ok 80000008')
  })

  it('drops an answer that it does not wait for', () => {
    const endpoint = plug({ hasPri: true })
    bench.commands(RESP)
    expect(endpoint.answerTo(1)).toBeUndefined()
  })

  it('has no more requests outstanding than credits, and names each by a group of its own', () => {
    const endpoint = plug({ hasPri: true, credits: 2 })
    const pages = [0n, 1n, 2n].map((i) => dma(endpoint, VA + (i << 12n), { pasid: 1 }))
    expect([pages, endpoint.waitingGroups]).toEqual([
      ['requested', 'requested', 'denied'],
      [1, 2],
    ])
    bench.commands(RESP)
    expect(dma(endpoint, VA, { pasid: 1 })).toBe('requested')
    expect(endpoint.waitingGroups).toEqual([2, 3])
  })

  it('goes round the groups, past those that wait', () => {
    const endpoint = plug({ hasPri: true, credits: 9999 })
    bench.write(OFFSET.CR0, CR0.ON)
    const transaction = Object.assign(new Transaction(), { pasid: 1 })
    // The queue is off: each is answered at once with a failure.
    for (let i = 0; i < 511; i++) endpoint.requestPage(transaction)
    expect([endpoint.group, endpoint.answerTo(511)]).toEqual([511, PAGE_RESPONSE.FAILURE])
    bench.write(OFFSET.CR0, CR0.ON | CR0.PRIQEN)
    endpoint.requestPage(transaction)
    expect(endpoint.waitingGroups).toEqual([0])
    bench.write(OFFSET.CR0, CR0.ON)
    for (let i = 0; i < 511; i++) endpoint.requestPage(transaction)
    endpoint.requestPage(transaction)
    expect([endpoint.group, endpoint.waitingGroups]).toEqual([1, [0]])
  })

  it('marks the end of a PASID, without an answer', () => {
    const endpoint = plug({ hasPri: true })
    endpoint.stopPasid(1)
    expect([bench.peek(queue), endpoint.waitingGroups]).toEqual([0xc000000100000003n, []])
  })

  it('is denied as without PRI by a unit that has no such port', () => {
    bench = new AtsBench({ preset: 'default', devices: functions }).stageOne()
    const endpoint = plug({ hasPri: true })
    expect(endpoint.requestPage(new Transaction())).toBe(false)
    expect(plug().requestPage(new Transaction())).toBe(false)
    endpoint.stopPasid(1)
    expect(endpoint.waitingGroups).toEqual([])
  })
})

describe('the functions of a unit', () => {
  it('hear what is meant for them, and others answer for the rest', () => {
    const heard: string[] = []
    functions = new Functions({
      invalidateAtc: ({ rid }) => heard.push(`forget ${rid}`) > 0,
      respondToPages: (rid) => void heard.push(`answer ${rid}`),
      ended: (tag) => void heard.push(`ended ${tag}`),
    })
    bench = new AtsBench({ devices: functions })
    bench.ste(SID, { V: 1, Config: CONFIG.BYPASS })
    plug()
    const other: [bigint, bigint] = [0x0000000400000040n, 0x34n]
    bench.commands(ATC_INV, other, [0x0000000300000041n, 0n], [0x0000000400000041n, 0n])
    functions.ended(7, new Outcome())
    functions.remove(SID)
    bench.commands(ATC_INV)
    expect(heard).toEqual(['forget 4', 'answer 4', 'ended 7', 'forget 3'])
  })

  it('are nobody where nobody was plugged in', () => {
    bench.commands(ATC_INV, [0x0000000300000041n, 0n], SYNC)
    expect(bench.read(OFFSET.CMDQ_CONS)).toBe(3)
    expect(NO_DEVICES.invalidateAtc).toBeTypeOf('function')
  })
})
