import { describe, expect, it } from 'vitest'
import type { IdRegisters } from '../../../hw-model/vtd/index.js'
import { EPOCH_CASES, machineOf, makeEpoch } from './epoch.js'
import { judge, readTrace } from './judge.js'
import { VARIANT_NAMES, type VariantName } from './machine.js'
import type { Case, Ending, Epoch } from './pair.js'
import { VtdRam } from './places.js'
import { makeProbe } from './probe-stage.js'
import { PROBES } from './probes.js'
import { judgeProbe } from './probing.js'
import { VTD_QUIRK_LIST } from './quirks.js'

/** CAP and ECAP as QEMU 11 says them. */
const IDS: Readonly<Record<VariantName, IdRegisters>> = {
  LEGACY: { VER: 0x10, CAP: [0x222f0606, 0x80d2008c], ECAP: [0xf42, 0], hawBits: 48 },
  NARROW: { VER: 0x10, CAP: [0x22260206, 0x80d2008c], ECAP: [0xf42, 0], hawBits: 39 },
  SECOND: { VER: 0x10, CAP: [0x222f0606, 0x80d2008c], ECAP: [0x80000fc2, 0x4800], hawBits: 48 },
  FIRST: { VER: 0x10, CAP: [0x222f0606, 0x81d2008c], ECAP: [0xf42, 0x8800], hawBits: 48 },
  DEVICES: { VER: 0x10, CAP: [0x222f0606, 0x80d2008c], ECAP: [0xfc6, 0], hawBits: 48 },
  SHARED: { VER: 0x10, CAP: [0x222f0606, 0x81d2008c], ECAP: [0x20000f46, 0x8d9a], hawBits: 48 },
  CACHING: { VER: 0x10, CAP: [0x222f0686, 0x80d2008c], ECAP: [0xfc2, 0], hawBits: 48 },
}
const BARS = [0xc0000000, 0xc0100000, 0xc0200000, 0xc0300000]

const epoch = (ram: VtdRam, seed: number, number: number): Epoch =>
  makeEpoch(ram, IDS[VARIANT_NAMES[machineOf(number)]], BARS, seed, number)

describe('an epoch', () => {
  it('depends on its seed and its number alone', () => {
    const ram = new VtdRam()
    const first = epoch(ram, 5, 3)
    epoch(ram, 6, 4)
    const again = epoch(ram, 5, 3)
    expect(again.requests).toEqual(first.requests)
    expect(again.cases).toEqual(first.cases)
    expect(again.image).toEqual(first.image)
  })

  it('has its cases, of which some translate, some fault and some meet what changed', () => {
    const ram = new VtdRam()
    const cases = [0, 1, 2, 3, 4, 5].flatMap((number) => epoch(ram, 1, number).cases)
    expect(cases).toHaveLength(6 * EPOCH_CASES)
    const translated = cases.filter(({ ours }) => ours.isOk).length
    const changed = cases.filter(({ change }) => change !== '').length
    expect(translated).toBeGreaterThan(0.3 * cases.length)
    expect(cases.length - translated).toBeGreaterThan(0.1 * cases.length)
    expect(changed).toBeGreaterThan(0.1 * cases.length)
  })

  it('ends as the survey says wherever nothing is stale', () => {
    const ram = new VtdRam()
    const cases = Array.from({ length: 18 }, (_, number) => epoch(ram, 2, number).cases).flat()
    const fresh = cases.filter(({ change, isPending }) => change === '' && !isPending)
    const wrong = fresh.filter(({ ends, ours }) => ours.isOk !== ['translated', 'passed'].includes(ends))
    expect(wrong.map(({ sid, va, ends }) => [sid, va, ends])).toEqual([])
  })
})

describe('the quirks', () => {
  it('have a probe each', () => {
    expect(PROBES.map(({ quirk }) => quirk).sort()).toEqual(VTD_QUIRK_LIST.map(({ name }) => name).sort())
  })

  it.each(PROBES.map((probe) => [probe.quirk, probe] as const))('%s: ours answers as the manual', (_, probe) => {
    const { cases } = makeProbe(new VtdRam(), IDS[probe.variant], BARS, probe)
    const last = cases[cases.length - 1]
    expect(judgeProbe(probe.manual, last, last.ours, ['0', '0']).ours).toBe('')
    const isAsked = probe.manual === 'stops' || probe.manual === 'goes on'
    if (!isAsked) expect(last.quirks).toContain(probe.quirk)
  })

  it('cite the manual', () => {
    for (const { manual } of VTD_QUIRK_LIST) expect(manual).toMatch(/^\[VTD [0-9.]+ /)
  })
})

describe('a verdict', () => {
  const ending = (reason: number): Ending => {
    const record = Int32Array.of(0x1000, 0, 8, (1 << 31) | reason)
    return { isOk: false, address: 0, isPassed: false, fsts: 2, record }
  }
  const own = (quirks: Case['quirks']): Case => ({
    device: 0,
    sid: 8,
    va: 0x1000n,
    isWrite: true,
    ends: '0x79 SSS.2',
    isConfigured: true,
    quirks,
    change: '',
    ours: ending(0x79),
    isPending: false,
    fstsAt: 0,
    recordAt: 1,
    statusAt: -1,
    checks: [],
    story: [],
  })
  const isOn = (): boolean => true

  it('disagrees when a bit of a record differs that no excuse names', () => {
    const other = ending(0x05)
    expect(judge(own([]), other, [], isOn).differences).toHaveLength(1)
    const wrongSid = { ...other, record: Int32Array.of(0x1000, 0, 9, (1 << 31) | 5) }
    expect(judge(own(['SECOND_CODES']), wrongSid, [], isOn).differences).toHaveLength(1)
  })

  it('is excused where a quirk names those bits, unless the reference has lost it', () => {
    const { excuses, differences } = judge(own(['SECOND_CODES']), ending(0x05), [], isOn)
    expect([excuses, differences]).toEqual([['SECOND_CODES'], []])
    expect(judge(own(['SECOND_CODES']), ending(0x05), [], () => false).differences).toHaveLength(1)
  })

  it('disagrees when an outcome, an address, a status or a register differs', () => {
    const ok = { ...ending(0), isOk: true, record: null, address: 0x1000, fsts: 0 }
    const good: Case = { ...own([]), ours: ok }
    expect(judge(good, ok, [], isOn).differences).toEqual([])
    expect(judge(good, { ...ok, address: 0x2000 }, [], isOn).differences[0]).toMatch(/^address/)
    expect(judge(good, { ...ok, isOk: false }, [], isOn).differences[0]).toMatch(/^outcome/)
    expect(judge(good, { ...ok, fsts: 1 }, [], isOn).differences[0]).toMatch(/^FSTS/)
    const checked = { ...good, checks: [{ at: 0, want: 0x25, mask: 0xf, what: 'IQH' }] }
    expect(judge(checked, ok, ['0x6'], isOn).differences).toEqual(['IQH: ours 0x25, reference 0x6'])
    expect(judge(checked, ok, ['0x15'], isOn).differences).toEqual([])
  })
})

describe('a trace', () => {
  it('tells each access by the read of the fault record that ends it', () => {
    const log = [
      'vtd_dmar_translate dev 00:01.00 iova 0x12345000 -> gpa 0x2005000 mask 0xfff',
      'vtd_reg_read addr 0x220 size 0x8',
      'vtd_reg_read addr 0x34 size 0x4',
      'vtd_reg_read addr 0x220 size 0x8',
      'vtd_dmar_fault sid 0x8 fault 5 addr 0x12346000 write 1',
      'vtd_reg_read addr 0x220 size 0x8',
    ]
    expect(readTrace(log.join('\n'))).toEqual([
      { page: 0x2005000, mask: 0xfff, isFault: false },
      null,
      { page: 0, mask: 0, isFault: true },
    ])
  })
})
