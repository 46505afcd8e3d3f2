/** Global errors, wires and messages. [SMMU 3.18 Interrupts and notifications] */

import { describe, expect, it } from 'vitest'
import { COMMANDS, EVENTS, Guest, RAM, ROM, VA } from './guest.js'

describe('[SMMU 6.3.19 SMMU_GERROR], [SMMU 7.5 Global error recording]', () => {
  /** An opcode that nobody has, at the place of the next command. */
  const badCommand = (g: Guest): void => g.command(0xffn, 0n)

  it('toggles when an error becomes active, and acknowledges by the toggle of GERRORN', () => {
    const g = new Guest()
    badCommand(g)
    expect([g.get32(0x60), g.get32(0x64)]).toEqual([1, 0])
    g.store(COMMANDS, 0x46n)
    g.set32(0x64, 1)
    expect([g.get32(0x60), g.get32(0x64)]).toEqual([1, 1])
    badCommand(g)
    expect([g.get32(0x60), g.get32(0x64)]).toEqual([0, 1])
    g.store(COMMANDS + 16n, 0x46n)
    g.set32(0x64, 0)
    expect([g.get32(0x60), g.get32(0x64), g.get32(0x9c) & 0xfffff]).toEqual([0, 0, 2])
  })

  it('does not toggle an error again that is active', () => {
    // Nothing stands behind the event queue: each record aborts, and only the first is an error.
    const g = new Guest({ cr0: 0b0001 })
    g.set64(0xa0, RAM | 5n)
    g.set32(0x20, 0b0101)
    for (let i = 0; i < 3; i++) g.read(VA)
    expect(g.get32(0x60)).toBe(0b100)
    expect(g.interrupts).toEqual(['gerror'])
  })

  it('ignores an acknowledgement of what is not active', () => {
    const g = new Guest()
    g.set32(0x64, 0b101)
    badCommand(g)
    expect(g.get32(0x60) & 1).not.toBe(g.get32(0x64) & 1)
  })

  it('is not to be written', () => {
    const g = new Guest()
    g.set32(0x60, 0xffff_ffff)
    expect(g.get32(0x60)).toBe(0)
  })

  it('stops the event queue until its abort is acknowledged', () => {
    const g = new Guest({ cr0: 0b0001 })
    g.set64(0xa0, RAM | 5n)
    g.set32(0x20, 0b0101)
    g.read(VA)
    expect(g.get32(0x100a8)).toBe(0)
    g.set32(0x20, 0b0001)
    g.set64(0xa0, EVENTS | 5n)
    g.set32(0x20, 0b0101)
    g.read(VA)
    expect(g.get32(0x100a8)).toBe(0)
    g.set32(0x64, 0b100)
    g.read(VA)
    expect(g.get32(0x100a8)).toBe(1)
  })
})

describe('[SMMU 3.18 Interrupts and notifications]', () => {
  it('raises the event queue once, when it is no longer empty', () => {
    const g = new Guest()
    g.read(VA)
    g.read(VA)
    expect(g.interrupts).toEqual(['eventq'])
    g.set32(0x100ac, 1)
    g.read(VA)
    expect(g.interrupts).toEqual(['eventq'])
    g.set32(0x100ac, 3)
    g.read(VA)
    expect(g.interrupts).toEqual(['eventq', 'eventq'])
  })

  it('raises nothing while IRQ_CTRL says no, and acknowledges in IRQ_CTRLACK', () => {
    const g = new Guest({ irq: 0 })
    g.read(VA)
    g.command(0xffn, 0n)
    expect([g.interrupts, g.get32(0x54), g.get32(0x60)]).toEqual([[], 0, 1])
    g.set32(0x50, 0b101)
    expect(g.get32(0x54)).toBe(0b101)
  })

  it('raises a global error when it becomes active', () => {
    const g = new Guest()
    g.command(0xffn, 0n)
    expect(g.interrupts).toEqual(['gerror'])
  })

  it('raises a CMD_SYNC that asks for it, and no other, whatever IRQ_CTRL says', () => {
    const g = new Guest({ irq: 0 })
    g.command(0x46n, 0n)
    expect(g.interrupts).toEqual([])
    g.command(0x1046n, 0n)
    expect(g.interrupts).toEqual(['cmdq-sync'])
    g.command(0x2046n, 0n)
    expect(g.interrupts).toEqual(['cmdq-sync'])
  })

  const DOORBELL = 0x5000_0000n

  it('writes a message of the event queue: DATA, 32 bits, at ADDR', () => {
    const g = new Guest({ irq: 0 })
    g.set64(0xb0, DOORBELL + 4n)
    g.set32(0xb8, 0x1234_5678)
    g.set32(0xbc, 0x3f)
    g.set32(0x50, 0b100)
    g.store(DOORBELL, 0x1111_1111_2222_2222n, 0x3333_3333_4444_4444n)
    g.read(VA)
    expect([g.load(DOORBELL), g.load(DOORBELL + 8n)]).toEqual([0x1234_5678_2222_2222n, 0x3333_3333_4444_4444n])
    expect(g.get32(0x60)).toBe(0)
  })

  it('writes a message of a global error, and of a CMD_SYNC', () => {
    const g = new Guest({ irq: 0 })
    g.set64(0x68, DOORBELL)
    g.set32(0x70, 0xaa)
    g.set32(0x50, 0b001)
    g.command((0x77n << 32n) | 0x1046n, DOORBELL + 8n, 0xffn, 0n)
    expect([g.load(DOORBELL), g.load(DOORBELL + 8n)]).toEqual([0xaan, 0x77n])
  })

  it('keeps where a message goes while its interrupt is enabled', () => {
    const CONFIG: readonly (readonly [number, number])[] = [
      [0x68, 0b001],
      [0xb0, 0b100],
    ]
    for (const [offset, enable] of CONFIG) {
      const g = new Guest({ irq: 0 })
      g.set64(offset, 0xff_ffff_ffff_fffcn)
      g.set32(offset + 8, 0xffff_ffff)
      g.set32(offset + 12, 0x3f)
      g.set32(0x50, enable)
      g.set64(offset, 0n)
      g.set32(offset + 8, 0)
      g.set32(offset + 12, 0)
      expect([g.get64(offset) & 0xffff_ffff_fffcn, g.get32(offset + 8), g.get32(offset + 12)]).toEqual([
        0xffff_ffff_fffcn,
        0xffff_ffff,
        0x3f,
      ])
    }
  })

  it('makes a message that aborts an error of its own', () => {
    const g = new Guest({ irq: 0 })
    g.set64(0xb0, ROM)
    g.set64(0x68, DOORBELL)
    g.set32(0x70, 0xaa)
    g.set32(0x50, 0b101)
    g.read(VA)
    expect([g.get32(0x60), g.load(DOORBELL), g.get32(0x100a8)]).toEqual([1 << 5, 0xaan, 1])
  })

  it('hands a message to its owner where no memory is: a doorbell', () => {
    const g = new Guest({ irq: 0 })
    g.set64(0xb0, RAM + 0x40n)
    g.set32(0xb8, 0x99)
    g.set32(0x50, 0b100)
    g.read(VA)
    g.command((0x77n << 32n) | 0x1046n, RAM + 0x80n)
    expect([g.messages, g.get32(0x60)]).toEqual([['0x100000040 0x99', '0x100000080 0x77'], 0])
  })

  it('completes a CMD_SYNC whose message aborts', () => {
    const g = new Guest()
    g.command(0x1046n, ROM, 0x46n, 0n)
    expect([g.get32(0x60), g.get32(0x9c)]).toEqual([1 << 4, 2])
  })

  it('sends no message of a global error whose own message aborts', () => {
    const g = new Guest({ irq: 0 })
    g.set64(0x68, ROM)
    g.set32(0x50, 0b001)
    g.command(0xffn, 0n)
    expect(g.get32(0x60)).toBe((1 << 7) | 1)
    expect([g.messages, g.interrupts]).toEqual([[], ['gerror']])
  })

  it('has written the record, then the index, when the interrupt comes', () => {
    let seen = ''
    const g = new Guest()
    g.interrupts.push = (source: string): number => {
      seen = `${source} ${g.get32(0x100a8)} ${g.load(EVENTS).toString(16)}`
      return 0
    }
    g.read(VA)
    expect(seen).toBe('eventq 1 1000000004')
  })
})
