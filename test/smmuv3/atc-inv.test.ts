import { beforeEach, describe, expect, it } from 'vitest'
import { AtcInvalidation, type DevicePort, NO_DEVICES, NO_PASID } from '../../hw-model/port.js'
import { idRegisters, OFFSET, PRESETS } from '../../hw-model/smmuv3/index.js'
import { AtsBench, SID, VA } from './ats-bench.js'

const SYNC: [bigint, bigint] = [0x46n, 0n]
/** For SID 0x10: everything without a PASID. */
const ALL: [bigint, bigint] = [0x0000001000000040n, 0x0000000000000034n]
const CMDQ_ERR = 1

/** What reached the devices; they answer at once, or when they are told. */
class Devices implements DevicePort {
  readonly invalidations: AtcInvalidation[] = []
  readonly responses: [rid: number, pasid: number, group: number, code: number][] = []
  answersAtOnce = true
  /** Called from inside an invalidation. */
  inside: (tag: number) => void = () => undefined
  readonly ended = NO_DEVICES.ended

  invalidateAtc(invalidation: AtcInvalidation): boolean {
    this.invalidations.push(Object.assign(new AtcInvalidation(), invalidation))
    this.inside(invalidation.tag)
    return this.answersAtOnce
  }

  respondToPages(rid: number, pasid: number, group: number, code: number): void {
    this.responses.push([rid, pasid, group, code])
  }

  get tags(): number[] {
    return this.invalidations.map(({ tag }) => tag)
  }
}

let devices: Devices
let bench: AtsBench

beforeEach(() => {
  devices = new Devices()
  bench = new AtsBench({ devices })
})

const cons = (): number => bench.read(OFFSET.CMDQ_CONS) & 0xfffff
const error = (): number => (bench.read(OFFSET.CMDQ_CONS) >>> 24) & 0x7f
const isStopped = (): boolean => ((bench.read(OFFSET.GERROR) ^ bench.read(OFFSET.GERRORN)) & CMDQ_ERR) !== 0
/** The last invalidation, without its tag. */
const last = (): Omit<AtcInvalidation, 'tag'> => {
  const { tag: _tag, ...rest } = devices.invalidations.at(-1) as AtcInvalidation
  return rest
}

describe('[SMMU 4.5.1 CMD_ATC_INV]', () => {
  it('without SSV names the translations that were obtained without a PASID', () => {
    bench.commands(ALL)
    expect(last()).toEqual({ rid: 0x10, pasid: NO_PASID, allPasids: false, lo: 0, hi: 0, sizeLg2: 64 })
  })

  it('with SSV names those of a PASID, and aligns the address to its span', () => {
    // PASID 5, 8 KiB at 0x12346000.
    bench.commands([0x0000001000005840n, 0x0000000012346001n])
    expect(last()).toEqual({ rid: 0x10, pasid: 5, allPasids: false, lo: 0x12346000, hi: 0, sizeLg2: 13 })
    bench.commands([0x0000001000005840n, 0x0000000012347001n])
    expect(last().lo).toBe(0x12346000)
  })

  it('with G names those of every PASID, and G means nothing without SSV', () => {
    bench.commands([0x0000001000005a40n, 0x0000000012346000n])
    expect(last()).toMatchObject({ pasid: 5, allPasids: true })
    bench.commands([0x0000001000005240n, 0x0000000012346000n])
    expect(last()).toMatchObject({ pasid: NO_PASID, allPasids: false })
  })

  it('has every size from 4 KiB to everything, and the whole address', () => {
    const address = 0xfedcba9876543n << 12n
    for (let size = 0; size <= 52; size++) {
      bench.commands([0x0000001000000040n, address | BigInt(size)])
      const { lo, hi, sizeLg2 } = last()
      expect(sizeLg2).toBe(12 + size)
      expect((BigInt(hi) << 32n) | BigInt(lo), `${size}`).toBe((address >> BigInt(sizeLg2)) << BigInt(sizeLg2))
    }
  })

  it.each([53n, 63n])('of size %i is CERROR_ILL', (size) => {
    bench.commands([0x0000001000000040n, size])
    expect([cons(), error(), isStopped(), devices.tags]).toEqual([0, 1, true, []])
  })

  it('is CERROR_ILL without ATS, SMMUEN or not', () => {
    bench = new AtsBench({ devices, preset: 'default' })
    bench.commands(ALL)
    expect([cons(), error()]).toEqual([0, 1])
  })

  it('is ignored while SMMUEN is 0', () => {
    bench.write(OFFSET.CR0, 0b1100)
    bench.commands(ALL, SYNC)
    expect([cons(), isStopped(), devices.tags]).toEqual([2, false, []])
  })

  it('of a PASID is one without where the unit has no substreams', () => {
    bench = new AtsBench({ devices, id: { IDR1: PRESETS.full.IDR1 & ~(31 << 6) } })
    bench.commands([0x0000001000005a40n, 0n])
    expect(last()).toMatchObject({ pasid: NO_PASID, allPasids: false })
  })

  it('reaches a unit without devices, and completes', () => {
    bench = new AtsBench()
    bench.commands(ALL, SYNC)
    expect(cons()).toBe(2)
  })
})

describe('[SMMU 4.7.3 CMD_SYNC] with invalidations outstanding', () => {
  beforeEach(() => {
    devices.answersAtOnce = false
  })
  const port = () => bench.unit.ats as NonNullable<typeof bench.unit.ats>

  it('stays at the SYNC until all of them are complete, and there is nothing to run', () => {
    bench.commands(ALL, ALL, SYNC, SYNC)
    expect([cons(), bench.unit.hasWork]).toEqual([2, false])
    bench.unit.run()
    expect(cons()).toBe(2)
    const [first, second] = devices.tags
    expect(port().completed(second)).toBe(true)
    expect([cons(), bench.unit.hasWork]).toEqual([2, false])
    expect(port().completed(first)).toBe(true)
    expect([cons(), isStopped()]).toEqual([4, false])
  })

  it('does not hold the commands before the SYNC, nor a queue without one', () => {
    bench.commands(ALL, [0x30n, 0n], ALL)
    expect([cons(), devices.tags.length]).toEqual([3, 2])
  })

  it('knows each tag once', () => {
    bench.commands(ALL, ALL)
    const [first, second] = devices.tags
    expect(first).not.toBe(second)
    expect([port().completed(first), port().completed(first), port().timedOut(first)]).toEqual([true, false, false])
    expect([port().completed(999), port().timedOut(999)]).toEqual([false, false])
  })

  it('fails when one was not answered in time, once the others are, and stays where it is', () => {
    bench.commands(ALL, ALL, SYNC, SYNC)
    const [first, second] = devices.tags
    expect(port().timedOut(first)).toBe(true)
    expect([cons(), isStopped()]).toEqual([2, false])
    port().completed(second)
    expect([cons(), error(), isStopped(), bench.unit.hasWork]).toEqual([2, 3, true, false])
    expect(bench.interrupts).toEqual(['gerror'])
    // Acknowledged, the same SYNC is fetched again, and completes.
    bench.write(OFFSET.GERRORN, bench.read(OFFSET.GERROR))
    expect([cons(), error(), isStopped()]).toEqual([4, 3, false])
  })

  it('fails at once where the time-out came before it', () => {
    bench.commands(ALL)
    port().timedOut(devices.tags[0])
    expect([cons(), isStopped()]).toEqual([1, false])
    bench.commands(SYNC)
    expect([cons(), error(), isStopped()]).toEqual([1, 3, true])
  })

  it('sends no signal when it fails', () => {
    bench.commands(ALL, [0x0000005500001046n, 0x3000n])
    port().timedOut(devices.tags[0])
    expect([bench.interrupts, bench.messages]).toEqual([['gerror'], []])
  })

  it('goes on where the device answered from inside the request', () => {
    devices.inside = (tag) => port().completed(tag)
    bench.commands(ALL, SYNC)
    expect(cons()).toBe(2)
  })

  it('is forgotten with CMDQEN, fetched again with it, and waits again', () => {
    bench.commands(ALL, SYNC, SYNC)
    bench.write(OFFSET.CR0, 0b0101)
    expect([cons(), bench.unit.hasWork]).toEqual([1, false])
    bench.write(OFFSET.CR0, 0b1101)
    expect([cons(), bench.unit.hasWork]).toEqual([1, false])
    bench.write(OFFSET.CR0, 0b0101)
    port().completed(devices.tags[0])
    expect(cons()).toBe(1)
    bench.write(OFFSET.CR0, 0b1101)
    expect(cons()).toBe(3)
  })

  it('does not hear of invalidations from before a reset', () => {
    bench.commands(ALL, SYNC)
    const [tag] = devices.tags
    bench.unit.reset()
    expect([port().completed(tag), port().timedOut(tag)]).toEqual([false, false])
    bench.write(OFFSET.CR0, 0)
    bench.write64(OFFSET.CMDQ_BASE, bench.commandQueue + bench.commandLg2)
    bench.write(OFFSET.CR0, 0b1001)
    bench.write(OFFSET.CMDQ_PROD, 1)
    bench.write(OFFSET.CMDQ_PROD, 2)
    expect([cons(), devices.tags.length]).toEqual([1, 2])
    port().completed(devices.tags[1])
    expect(cons()).toBe(2)
  })

  it('holds the 33rd invalidation in the queue until one is answered', () => {
    for (let i = 0; i < 33; i++) bench.commands(ALL)
    while (bench.unit.hasWork) bench.unit.run()
    expect([cons(), devices.tags.length, bench.unit.hasWork]).toEqual([32, 32, false])
    port().completed(devices.tags[7])
    expect([cons(), devices.tags.length]).toEqual([33, 33])
  })

  it('goes on for QUEUE_RUN commands, as after a write to PROD', () => {
    bench.commands(ALL, SYNC, ...new Array<[bigint, bigint]>(40).fill(SYNC))
    port().completed(devices.tags[0])
    expect([cons(), bench.unit.hasWork]).toEqual([17, true])
    bench.unit.run()
    expect(cons()).toBe(33)
  })

  it('still answers translations meanwhile', () => {
    bench.stageOne()
    bench.commands(ALL, SYNC)
    expect(bench.request(VA, { sid: SID })).toBe('r-- 80000000/12')
  })
})

describe('[SMMU 4.5.2 CMD_PRI_RESP]', () => {
  const resp = (code: bigint): [bigint, bigint] => [0x0000001000005841n, (code << 12n) | 0x103n]

  it.each([
    [0n, 0b1111],
    [1n, 0b0001],
    [2n, 0b0000],
  ])('with Resp %i is the response code %i of PCIe', (resp_, code) => {
    bench.commands(resp(resp_))
    expect(devices.responses).toEqual([[0x10, 5, 0x103, code]])
  })

  it('without SSV has no PASID', () => {
    bench.commands([0x0000001000005041n, 0x2003n])
    expect(devices.responses).toEqual([[0x10, NO_PASID, 3, 0]])
  })

  it('with Resp 3, or without PRI, is CERROR_ILL', () => {
    bench.commands(resp(3n))
    expect([cons(), error(), devices.responses]).toEqual([0, 1, []])
    bench = new AtsBench({ devices, id: { IDR0: PRESETS.full.IDR0 & ~(1 << 16) } })
    bench.commands(resp(2n))
    expect([cons(), error(), devices.responses]).toEqual([0, 1, []])
  })

  it('is ignored while SMMUEN is 0', () => {
    bench.write(OFFSET.CR0, 0b1100)
    bench.commands(resp(2n))
    expect([cons(), isStopped(), devices.responses]).toEqual([1, false, []])
  })

  it('waits for nothing, and no SYNC waits for it', () => {
    devices.answersAtOnce = false
    bench.commands(resp(2n), SYNC)
    expect(cons()).toBe(2)
  })
})

describe('the ATS port', () => {
  it('is there with IDR0.ATS alone', () => {
    expect(new AtsBench({ preset: 'default' }).unit.ats).toBeNull()
    expect(idRegisters('full').IDR0 & 0x400).toBe(0x400)
    expect(new AtsBench().unit.ats).not.toBeNull()
  })
})
