import { describe, expect, it } from 'vitest'
import { idRegisters } from '../../../hw-model/smmuv3/index.js'
import { EPOCH_CASES, makeEpoch } from './epoch.js'
import { judge, readTrace } from './judge.js'
import type { Case, Ending } from './pair.js'
import { makeProbe } from './probe-stage.js'
import { PROBES } from './probes.js'
import { judgeProbe } from './probing.js'
import { SMMU_QUIRK_LIST } from './quirks.js'
import { SmmuRam } from './ram.js'

const ID = idRegisters('qemu')
const BARS = [0x3e000000, 0x3e100000, 0x3e200000, 0x3e300000]

describe('an epoch', () => {
  it('depends on its seed and its number alone', () => {
    const ram = new SmmuRam()
    const first = makeEpoch(ram, ID, BARS, 5, 3)
    makeEpoch(ram, ID, BARS, 6, 4)
    const again = makeEpoch(ram, ID, BARS, 5, 3)
    expect(again.requests).toEqual(first.requests)
    expect(again.cases).toEqual(first.cases)
    expect(again.image).toEqual(first.image)
  })

  it('has its cases, of which some translate, some fault and some meet what changed', () => {
    const ram = new SmmuRam()
    const cases = [0, 1, 2, 3].flatMap((number) => makeEpoch(ram, ID, BARS, 1, number).cases)
    expect(cases).toHaveLength(4 * EPOCH_CASES)
    const translated = cases.filter(({ ours }) => ours.isOk).length
    const changed = cases.filter(({ change }) => change !== '').length
    expect(translated).toBeGreaterThan(0.3 * cases.length)
    expect(cases.length - translated).toBeGreaterThan(0.1 * cases.length)
    expect(changed).toBeGreaterThan(0.1 * cases.length)
  })
})

describe('the quirks', () => {
  it('have a probe each', () => {
    expect(PROBES.map(({ quirk }) => quirk).sort()).toEqual(SMMU_QUIRK_LIST.map(({ name }) => name).sort())
  })

  it('cite the manual', () => {
    for (const { manual } of SMMU_QUIRK_LIST) expect(manual).toMatch(/^\[(SMMU|Arm) [A-D0-9.]+ /)
  })

  it.each(PROBES.map((probe) => [probe.quirk, probe] as const))('%s: ours answers as the manual', (_, probe) => {
    const { cases } = makeProbe(new SmmuRam(), ID, BARS, probe)
    const last = cases[cases.length - 1]
    expect(judgeProbe(probe.manual, last, last.ours, ['0', '0']).ours).toBe('')
    expect(last.quirks).toContain(probe.quirk)
  })
})

describe('a verdict', () => {
  const ending = (word6: number): Ending => {
    const record = Int32Array.of(0x10, 8, 0, 0x280, 0, 0, word6, 0)
    return { isOk: false, address: 0, isBypass: false, prod: 1, record }
  }
  const own = (quirks: Case['quirks']): Case => ({
    device: 0,
    sid: 8,
    va: 0n,
    isWrite: true,
    ends: 'F_TRANSLATION',
    stage: 2,
    isConfigured: true,
    quirks,
    change: '',
    ours: ending(0x1000),
    prodAt: 0,
    statusAt: -1,
    checks: [],
    story: [],
  })
  const isOn = (): boolean => true

  it('disagrees when a bit of a record differs that no excuse names', () => {
    expect(judge(own([]), ending(0x1124), [], isOn).differences).toHaveLength(1)
    expect(judge(own(['IPA_BITS']), ending(0x2124), [], isOn).differences).toHaveLength(1)
  })

  it('is excused where a quirk names those bits, unless the reference has lost it', () => {
    const { excuses, differences } = judge(own(['IPA_BITS']), ending(0x1124), [], isOn)
    expect([excuses, differences]).toEqual([['IPA_BITS'], []])
    expect(judge(own(['IPA_BITS']), ending(0x1124), [], () => false).differences).toHaveLength(1)
  })

  it('disagrees when an outcome, an address or a register differs', () => {
    const ok = { ...ending(0), isOk: true, record: null, address: 0x1000 }
    const good: Case = { ...own([]), ours: ok }
    expect(judge(good, ok, [], isOn).differences).toEqual([])
    expect(judge(good, { ...ok, address: 0x2000 }, [], isOn).differences[0]).toMatch(/^address/)
    expect(judge(good, ending(0), [], isOn).differences[0]).toMatch(/^outcome/)
    const checked = { ...good, checks: [{ at: 0, want: 5, what: 'CMDQ_CONS' }] }
    expect(judge(checked, ok, ['0x6'], isOn).differences).toEqual(['CMDQ_CONS: ours 0x5, reference 0x6'])
  })
})

describe('a trace', () => {
  it('tells each access by the read that ends it', () => {
    const log = [
      'smmuv3_translate_success smmuv3-iommu-memory-region-8-0 sid=0x8 iova=0x12345000 translated=0x41805000 perm=0x3 stage=1',
      'smmuv3_read_mmio addr: 0xa8 val:0x0 size: 0x4(0)',
      'smmuv3_read_mmio addr: 0x9c val:0x0 size: 0x4(0)',
      'smmuv3_read_mmio addr: 0xa8 val:0x1 size: 0x4(0)',
      'smmuv3_translate_bypass smmuv3-iommu-memory-region-8-0 sid=0x8 bypass (smmu enabled) iova:0x42000000 is_write=1',
      'smmuv3_read_mmio addr: 0xa8 val:0x1 size: 0x4(0)',
    ]
    expect(readTrace(log.join('\n'))).toEqual([
      { address: 0x41805000, rights: 3, isBypass: false },
      null,
      { address: 0x42000000, rights: 3, isBypass: true },
    ])
  })
})
