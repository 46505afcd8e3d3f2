/** What is unmapped in pieces: up to seven are flushed one by one, more as the whole domain, and none is left. */

import { describe, expect, it } from 'vitest'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import { Ear } from './ear.js'
import { WindowWorld } from './window-world.js'
import { GUEST_RAM, PARENT, PLAIN, RW } from './world.js'

const { IDR0, IDR1 } = PRESETS.default
/** IDR0.ATS is bit 10, PRI bit 16; IDR1.PRIQS bits 15:11. */
const ATS = { IDR0: IDR0 | (1 << 10) | (1 << 16), IDR1: IDR1 | (8 << 11) }
/** CMD_TLBI_NH_ASID, NH_VA, NH_ALL, S12_VMALL, S2_IPA. [SMMU 4.1.2 Command opcodes] */
const [NH_ASID, NH_VA, NH_ALL, S12_VMALL, S2_IPA] = [0x11, 0x12, 0x10, 0x28, 0x2a]
const ATC_INV = 0x40

const scenes = [
  ['stage 1', PLAIN, [NH_VA], [NH_ASID], ['8 -1 0 64']],
  ['stage 2', PARENT, [S2_IPA, NH_ALL], [S12_VMALL], ['8 -1 0 64', '8 all 0 64']],
] as const

describe.each(scenes)('pieces of %s', (_name, flags, singly, wholly, forgotten) => {
  /** Unmaps every other page of so many, backwards or forwards, and tells the flush's commands. */
  function unmapped(pieces: number, isBackwards: boolean) {
    const world = new WindowWorld(ATS, { ats: true }, { caches: { policy: 'greedy' } })
    const ear = new Ear()
    const domain = world.driver.createPaging(world.a, flags)
    const iovas = Array.from({ length: pieces }, (_, i) => BigInt(2 * i + 1) << 12n)
    domain.map(0n, GUEST_RAM, BigInt(2 * pieces + 2) << 12n, RW)
    world.a.set(0, domain, null)
    for (const iova of iovas) expect(world.dma(world.a, iova)).toMatch(/^ok/)
    world.driver.listener = ear
    const commands = world.commandsOf(() => {
      for (const iova of isBackwards ? iovas.toReversed() : iovas) domain.unmap(iova, 0x1000n)
      domain.flush()
    })
    const opcodes = commands.map((one) => Number.parseInt(one.split(' ')[0].slice(-2), 16))
    const left = iovas.filter((iova) => world.dma(world.a, iova) !== 'F_TRANSLATION')
    const kept = world.dma(world.a, 0x2000n)
    return { asked: ear.asked, opcodes: [...new Set(opcodes)].filter((one) => one !== ATC_INV), left, kept }
  }

  it.each([false, true])('are said one by one while they are seven, backwards: %s', (isBackwards) => {
    const { asked, opcodes, left, kept } = unmapped(7, isBackwards)
    expect([opcodes, left, kept]).toEqual([singly, [], 'ok 10000002000'])
    expect(asked).toHaveLength(7 * forgotten.length)
  })

  it.each([
    [8, false],
    [8, true],
    [20, false],
    [20, true],
  ])('are the whole domain from eight on: %i, backwards: %s', (pieces, isBackwards) => {
    const { asked, opcodes, left, kept } = unmapped(pieces, isBackwards)
    expect([opcodes, left, kept]).toEqual([wholly, [], 'ok 10000002000'])
    expect(asked).toEqual(forgotten)
  })
})
