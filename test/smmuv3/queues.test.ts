import { describe, expect, it } from 'vitest'
import { FlatBacking, SparseBacking } from '../../hw-model/memory/backing.js'
import { CONFIG, OFFSET, PAGE_1 } from '../../hw-model/smmuv3/index.js'
import { Bench } from './bench.js'

const SYNC: [bigint, bigint] = [0x46n, 0n]
const CMDQ_ERR = 1
const consOf = (bench: Bench): number => bench.read(OFFSET.CMDQ_CONS) & 0xfffff
const errorOf = (bench: Bench): number => (bench.read(OFFSET.CMDQ_CONS) >>> 24) & 0x7f
const isCommandError = (bench: Bench): boolean =>
  ((bench.read(OFFSET.GERROR) ^ bench.read(OFFSET.GERRORN)) & CMDQ_ERR) !== 0

describe('[SMMU 7.1 Command queue errors]', () => {
  const illegal: [name: string, dw0: bigint, dw1: bigint][] = [
    ['opcode 0', 0n, 0n],
    ['SSec', 0x403n, 0n],
    ['SYNC with CS = 3', 0x3046n, 0n],
    ['the reserved range code', 0x12n, 0x400n],
    ['the reserved range code of 16 KiB', 0x2an, 0x900n],
    ['ATC_INV without ATS', 0x40n, 0n],
    ['PRI_RESP without PRI', 0x41n, 0n],
    ['RESUME without stalls', 0x44n, 0n],
    ['STALL_TERM without stalls', 0x45n, 0n],
    ['EL2_ALL without Hyp', 0x20n, 0n],
    ['CFGI_VMS_PIDM without MPAM', 0x07n, 0n],
    ['a Secure TLBI', 0x60n, 0n],
    ['an unknown opcode', 0xffn, 0n],
  ]
  it.each(illegal)('%s is CERROR_ILL and the queue stays at it', (_name, dw0, dw1) => {
    const bench = new Bench()
    bench.commands(SYNC, [dw0, dw1], SYNC)
    expect([consOf(bench), errorOf(bench), isCommandError(bench)]).toEqual([1, 1, true])
    expect(bench.interrupts).toEqual(['gerror'])
  })

  it.each([0x01n, 0x02n, 0x0000_0001_0000_0028n])('command %i is taken', (dw0) => {
    const bench = new Bench()
    bench.commands([dw0, 0n])
    expect([consOf(bench), isCommandError(bench)]).toEqual([1, false])
  })

  it.each([
    ['NH_ALL', 0x410n],
    ['NSNH_ALL', 0x430n],
    ['SYNC', 0x446n],
  ])('bit 10 of %s, which has no SSec, is reserved and ignored', (_name, dw0) => {
    const bench = new Bench()
    bench.commands([dw0, 0n])
    expect([consOf(bench), isCommandError(bench)]).toEqual([1, false])
  })

  it.each([0x01n, 0x02n, 0x03n, 0x04n, 0x05n, 0x06n])('SSec of the command %i is CERROR_ILL', (opcode) => {
    const bench = new Bench()
    bench.commands([opcode | 0x400n, 0n])
    expect([consOf(bench), errorOf(bench)]).toEqual([0, 1])
  })

  it('goes on when the error is acknowledged, reading the slot again, without a write to PROD', () => {
    const bench = new Bench({ commandLg2: 2 })
    bench.commands(SYNC, SYNC, SYNC, [0xffn, 0n])
    expect(consOf(bench)).toBe(3)
    // PROD alone changes nothing while the error is active.
    bench.write(OFFSET.CMDQ_PROD, 4)
    expect(consOf(bench)).toBe(3)
    bench.poke(bench.commandQueue + 3 * 16, SYNC[0])
    bench.write(OFFSET.GERRORN, bench.read(OFFSET.GERROR))
    expect([consOf(bench), errorOf(bench), isCommandError(bench)]).toEqual([4, 1, false])
    bench.commands(SYNC, SYNC)
    expect(consOf(bench)).toBe(6)
  })

  it('goes on in the same write when the error is acknowledged from inside its interrupt', () => {
    const bench = new Bench()
    bench.interrupts.push = () => {
      bench.poke(bench.commandQueue + 16, SYNC[0])
      bench.write(OFFSET.GERRORN, bench.read(OFFSET.GERROR))
      return 0
    }
    bench.commands(SYNC, [0xffn, 0n], SYNC, SYNC)
    expect([consOf(bench), isCommandError(bench)]).toEqual([4, false])
  })

  it('reports a queue that cannot be read as CERROR_ABT', () => {
    const bench = new Bench()
    bench.write(OFFSET.CR0, 0b0101)
    bench.write64(OFFSET.CMDQ_BASE, 2 ** 40 + 4)
    bench.write(OFFSET.CR0, 0b1101)
    bench.write(OFFSET.CMDQ_PROD, 1)
    expect([consOf(bench), errorOf(bench), isCommandError(bench)]).toEqual([0, 2, true])
  })

  it('takes a queue of one slot through its wrap bit', () => {
    const bench = new Bench({ commandLg2: 0 })
    for (const cons of [1, 0, 1, 0]) {
      bench.commands(SYNC)
      expect(consOf(bench)).toBe(cons)
    }
  })

  it('is idle for indices that no sequence of steps reaches', () => {
    const bench = new Bench({ commandLg2: 2 })
    bench.write(OFFSET.CMDQ_PROD, 6)
    expect([consOf(bench), isCommandError(bench)]).toEqual([0, false])
  })
})

describe('[SMMU 4.7.3 CMD_SYNC]', () => {
  it('with an MSI over its own slot writes zero there, and CONS covers it', () => {
    const bench = new Bench()
    bench.commands([0x000000000fc01046n, BigInt(bench.commandQueue)])
    expect(bench.peek(bench.commandQueue) & 0xffffffffn).toBe(0n)
    expect(consOf(bench)).toBe(1)
    expect([bench.messages, bench.interrupts]).toEqual([[[bench.commandQueue, 0]], ['cmdq-sync']])
  })

  it('with an MSI to a place without memory rings it at the owner', () => {
    const bench = new Bench()
    bench.commands([0x000000550fc01046n, 0x800000000010n])
    expect(bench.messages).toEqual([[0x800000000010, 0x55]])
  })

  it('with an MSI beyond the output size writes where the address truncated to OAS leads', () => {
    const bench = new Bench()
    bench.commands([0x0000005500001046n, 2n ** 50n + 0x3000n])
    expect([bench.peek(0x3000), bench.messages]).toEqual([0x55n, [[0x3000, 0x55]]])
    expect([bench.read(OFFSET.GERROR), consOf(bench)]).toEqual([0, 1])
  })

  it('with an MSI into memory that may not be written is MSI_CMDQ_ABT_ERR, and completes', () => {
    const bench = new Bench()
    bench.memory.place(2 ** 40, new FlatBacking(new ArrayBuffer(65536), false))
    bench.commands([0x0000005500001046n, 2n ** 40n])
    expect([bench.read(OFFSET.GERROR), consOf(bench), bench.messages]).toEqual([1 << 4, 1, []])
  })
})

describe('[SMMU 7.5 Global error recording]', () => {
  it('does not toggle an error that is active, until it is acknowledged', () => {
    const bench = new Bench()
    bench.memory.place(2 ** 40, new FlatBacking(new ArrayBuffer(65536), false))
    const sync: [bigint, bigint] = [0x0000005500001046n, 2n ** 40n]
    bench.commands(sync, sync)
    expect([bench.read(OFFSET.GERROR), bench.interrupts.filter((name) => name === 'gerror').length]).toEqual([
      1 << 4,
      1,
    ])
    bench.write(OFFSET.GERRORN, 1 << 4)
    bench.commands(sync)
    expect(bench.read(OFFSET.GERROR)).toBe(0)
  })
})

describe('[SMMU 3.4.3 Address sizes of SMMU-originated accesses]', () => {
  it('reads a command queue and writes an event queue beyond the output size at their truncated addresses', () => {
    const bench = new Bench()
    bench.write(OFFSET.CR0, 0)
    bench.write64(OFFSET.CMDQ_BASE, 2 ** 48 + bench.commandQueue + bench.commandLg2)
    bench.write64(OFFSET.EVENTQ_BASE, 2 ** 49 + bench.eventQueue + bench.eventLg2)
    bench.write(OFFSET.CR0, 0b1101)
    bench.commands(SYNC)
    bench.dma(1, 0n)
    expect([consOf(bench), bench.read(OFFSET.GERROR), bench.events().length]).toEqual([1, 0, 1])
    expect(bench.peek(bench.eventQueue) & 0xffn).toBe(4n)
  })
})

describe('[SMMU 7.2 Event queue]', () => {
  it('raises its interrupt once per turn from empty to not empty', () => {
    const bench = new Bench()
    bench.dma(1, 0n)
    bench.dma(1, 0n)
    expect(bench.interrupts).toEqual(['eventq'])
    expect(bench.events().length).toBe(2)
    bench.dma(1, 0n)
    expect(bench.interrupts).toEqual(['eventq', 'eventq'])
  })

  it('toggles OVFLG once when full, and goes on writing when there is room', () => {
    const bench = new Bench({ eventLg2: 1 })
    const prod = (): number => bench.read(PAGE_1 + OFFSET.EVENTQ_PROD)
    for (let i = 0; i < 4; i++) expect(bench.dma(1, 0n)).toBe('C_BAD_STE')
    expect(prod()).toBe(2 + 2 ** 31)
    bench.write(PAGE_1 + OFFSET.EVENTQ_CONS, 1)
    bench.dma(1, 0n)
    expect(prod()).toBe(3 + 2 ** 31)
    bench.write(PAGE_1 + OFFSET.EVENTQ_CONS, 3 + 2 ** 31)
    for (let i = 0; i < 3; i++) bench.dma(1, 0n)
    expect(prod()).toBe(1)
  })

  it('drops records without overflow while it is disabled; the access still faults', () => {
    const bench = new Bench()
    bench.write(OFFSET.CR0, 0b1001)
    expect(bench.dma(1, 0n)).toBe('C_BAD_STE')
    bench.write(OFFSET.CR0, 0b1101)
    expect(bench.events()).toEqual([])
    expect(bench.read(PAGE_1 + OFFSET.EVENTQ_PROD)).toBe(0)
  })

  it('that cannot be written is EVENTQ_ABT_ERR until that is acknowledged', () => {
    const bench = new Bench()
    bench.write(OFFSET.CR0, 0b1001)
    bench.write64(OFFSET.EVENTQ_BASE, 2 ** 40 + 4)
    bench.write(OFFSET.CR0, 0b1101)
    bench.dma(1, 0n)
    expect([bench.read(OFFSET.GERROR), bench.read(PAGE_1 + OFFSET.EVENTQ_PROD)]).toEqual([1 << 2, 0])
    bench.memory.place(2 ** 40, new SparseBacking(65536))
    bench.write(OFFSET.GERRORN, 1 << 2)
    bench.dma(1, 0n)
    expect(bench.read(PAGE_1 + OFFSET.EVENTQ_PROD)).toBe(1)
  })

  it('writes its MSI where EVENTQ_IRQ_CFG says', () => {
    const bench = new Bench()
    bench.write(OFFSET.IRQ_CTRL, 0)
    bench.write64(OFFSET.EVENTQ_IRQ_CFG0, 0x2000)
    bench.write(OFFSET.EVENTQ_IRQ_CFG1, 77)
    bench.write(OFFSET.IRQ_CTRL, 0b100)
    bench.dma(1, 0n)
    expect([bench.peek(0x2000), bench.messages]).toEqual([77n, [[0x2000, 77]]])
  })
})

describe('registers', () => {
  it('ignore writes to what is in use', () => {
    const bench = new Bench()
    const names = ['STRTAB_BASE', 'STRTAB_BASE_CFG', 'CMDQ_BASE', 'EVENTQ_BASE', 'CMDQ_CONS', 'CR2', 'IDR0'] as const
    for (const name of names) {
      const before = bench.read(OFFSET[name])
      bench.write(OFFSET[name], ~before)
      expect(bench.read(OFFSET[name]), name).toBe(before)
    }
  })

  it('apply GBPA only with Update set, and show Update as done', () => {
    const bench = new Bench()
    bench.write(OFFSET.CR0, 0)
    expect(bench.dma(1, 0x5000n)).toBe('ok 5000')
    bench.write(OFFSET.GBPA, 1 << 20)
    expect(bench.read(OFFSET.GBPA)).toBe(1 << 12)
    bench.write(OFFSET.GBPA, (1 << 31) | (1 << 20))
    expect(bench.read(OFFSET.GBPA)).toBe(1 << 20)
    expect(bench.dma(1, 0x5000n)).toBe('aborted')
  })

  it('abort an address beyond the output size silently while the unit is off', () => {
    const bench = new Bench()
    bench.write(OFFSET.CR0, 0b1100)
    expect(bench.dma(1, 1n << 48n)).toBe('aborted')
    expect(bench.events()).toEqual([])
  })

  it('drop C_BAD_STREAMID records unless CR2.RECINVSID wants them', () => {
    const bench = new Bench()
    expect(bench.dma(64, 0n)).toBe('C_BAD_STREAMID')
    expect(bench.events()).toEqual([[0x0000004000000002n, 0n, 0n, 0n]])
    bench.write(OFFSET.CR0, 0b1100)
    bench.write(OFFSET.CR2, 0)
    bench.write(OFFSET.CR0, 0b1101)
    expect(bench.dma(64, 0n)).toBe('aborted')
    expect(bench.events()).toEqual([])
  })

  it('let an aborting stream abort without a record', () => {
    const bench = new Bench()
    bench.ste(1, { V: 1, Config: CONFIG.ABORT })
    bench.ste(2, { V: 1, Config: 0b011 })
    expect([bench.dma(1, 0n), bench.dma(2, 0n)]).toEqual(['aborted', 'aborted'])
    expect(bench.events()).toEqual([])
  })
})

describe('a queue that is longer than what a unit takes at once', () => {
  it('is left after 16 commands, goes on when the unit is run, and stops for good at an error', () => {
    const bench = new Bench({ commandLg2: 8 })
    const commands = new Array<[bigint, bigint]>(150).fill(SYNC)
    bench.commands(...commands.with(140, [0xffn, 0n]))
    expect([consOf(bench), bench.unit.hasWork]).toEqual([16, true])
    bench.unit.run()
    expect([consOf(bench), bench.unit.hasWork]).toEqual([32, true])
    while (bench.unit.hasWork) bench.unit.run()
    expect([consOf(bench), isCommandError(bench)]).toEqual([140, true])
    bench.unit.run()
    expect(consOf(bench)).toBe(140)
  })
})
