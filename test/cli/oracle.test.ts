/** `iommuctl oracle` and `iommuctl cache`: what they send, what they print, and what they exit with. */

import { describe, expect, it } from 'vitest'
import { runIn } from './fake.js'

const REPORT = {
  deviceName: '0000:01:01.0',
  sourceId: 0x108,
  pasid: 3,
  iova: 0x5000n,
  access: 2,
  cached: { outcome: 1, location: { regionId: 1, offset: 0x8000n }, pageSizeLog2: 12, permissions: 3 },
  fresh: { outcome: 2, fault: { name: '0x71 SFS.2', code: 0x71 } },
  neededCommand: 'P_IOTLB DID=2 PASID=3 AM=0 IH=1 ADDR=0x5000',
  usualCommand: 'P_IOTLB DID=2 PASID=3',
  ownCommand: 'P_IOTLB addr=0x5000 npages=1 on the user domain',
  hits: 4n,
  number: 7n,
  cache: 'iotlb',
  reason: 1,
  filledOperation: 1n,
  lastRightOperation: 2n,
  firstSeenOperation: 5n,
  reportedOperation: 9n,
  changed: {
    structure: 'first-stage entry',
    stage: 1,
    level: 1,
    location: { regionId: 1, offset: 0x4028n },
    before: 0x9067n,
    after: 0n,
  },
  sent: [{ command: 'P_IOTLB DID=2 PASID=0', operation: 4n, why: 'PASID 0, needed 3' }],
}

const LINES = [
  'stale translation 7: iotlb of 0000:01:01.0, PASID 3, WRITE of 0x5000',
  '  device gets   region 1 + 0x8000  4 KiB  READ|WRITE',
  '  tables say    0x71 SFS.2',
  '  changed       first-stage entry, level 1 at region 1 + 0x4028: 0x9067 -> 0x0',
  '  forgotten     P_IOTLB addr=0x5000 npages=1 on the user domain',
  '  in hardware   P_IOTLB DID=2 PASID=3 AM=0 IH=1 ADDR=0x5000',
  '  or rather     P_IOTLB DID=2 PASID=3',
  '  sent instead  P_IOTLB DID=2 PASID=0 (operation 4): PASID 0, needed 3',
  '  reported      a SYNC or wait has completed since the change; met 4 times',
  '  operations    filled 1, right until 2, first seen wrong 5, reported 9',
]

describe('oracle watch', () => {
  it('prints reports as a person wants them', async () => {
    const ran = await runIn(
      { reply: { stale: [REPORT], totalCount: 1n } },
      'oracle',
      'watch',
      '--unit',
      'vtd0',
      '--count',
      '1',
    )
    expect([ran.exit, ran.out]).toEqual([0, LINES])
    expect(ran.sent[0]).toMatchObject({ method: 'ListStaleTranslations', request: { unitName: 'vtd0', start: 0 } })
  })

  it('goes on where it was, with a blank line between two', async () => {
    const words = ['oracle', 'watch', '--unit-id', '5', '--count', '2', '--poll-ms', '1']
    const ran = await runIn({ reply: { stale: [REPORT], totalCount: 2n } }, ...words)
    expect(ran.out).toEqual([...LINES, '', ...LINES])
    expect(ran.sent.map(({ request }) => [request['unitId'], request['start']])).toEqual([
      [5, 0],
      [5, 1],
    ])
  })

  it('starts again where the oracle did', async () => {
    const words = ['oracle', 'watch', '--unit', 'vtd0', '--count', '2', '--poll-ms', '1']
    const ran = await runIn({ reply: { stale: [REPORT], totalCount: 0n } }, ...words)
    expect(ran.sent.map(({ request }) => request['start'])).toEqual([0, 0])
  })

  it('prints a line of JSON each, when asked', async () => {
    const ran = await runIn(
      { reply: { stale: [REPORT], totalCount: 1n } },
      'oracle',
      'watch',
      '--unit',
      'u',
      '--count',
      '1',
      '--json',
    )
    expect(JSON.parse(ran.out[0])).toMatchObject({ number: '7', cache: 'iotlb', ownCommand: REPORT.ownCommand })
  })

  it('shows what the administrator sees, and what a context that shares a unit does not', async () => {
    const changed = { ...REPORT.changed, location: undefined, address: 0x7f000n }
    const more = { ownCommand: '', usualCommand: '', sent: [], reportedOperation: 0n, hits: 1n, contextNumber: 3n }
    const stale = [{ ...REPORT, ...more, changed, deviceName: '', pasid: undefined }]
    const ran = await runIn({ reply: { stale, totalCount: 1n } }, 'oracle', 'watch', '--unit', 'u', '--count', '1')
    expect(ran.out).toEqual([
      'stale translation 7: iotlb of source-id 0x108 of context 3, WRITE of 0x5000',
      '  device gets   region 1 + 0x8000  4 KiB  READ|WRITE',
      '  tables say    0x71 SFS.2',
      '  changed       first-stage entry, level 1 at PA 0x7f000: 0x9067 -> 0x0',
      '  forgotten     P_IOTLB DID=2 PASID=3 AM=0 IH=1 ADDR=0x5000',
      '  sent instead  nothing near it',
      '  reported      a SYNC or wait has completed since the change',
    ])
  })
})

describe('oracle check', () => {
  it('exits with 1 when something is stale, else with 0', async () => {
    const stale = await runIn({ reply: { stale: [REPORT], checkedCount: 9n } }, 'oracle', 'check', '--unit', 'vtd0')
    expect([stale.exit, stale.out]).toEqual([1, [...LINES, '9 compared, 1 stale']])
    const clean = await runIn({ reply: { checkedCount: 9n } }, 'oracle', 'check', '--unit', 'vtd0')
    expect([clean.exit, clean.out]).toEqual([0, ['9 compared, none stale']])
  })
})

describe('oracle mode', () => {
  it('sets it, and tells what was counted', async () => {
    const counts = { compared: 5n, inWindow: 2n }
    const words = ['oracle', 'mode', 'fail', '--unit', 'smmu0', '--grace-syncs', '2']
    const ran = await runIn({ replies: { ListStaleTranslations: { mode: 3, graceSyncs: 2, counts } } }, ...words)
    expect(ran.sent[0]).toMatchObject({
      method: 'SetOracleMode',
      request: { unitName: 'smmu0', mode: 3, graceSyncs: 2 },
    })
    expect(ran.out.slice(0, 3)).toEqual(['mode             fail', 'grace-syncs      2', 'compared         5'])
    expect(ran.out).toContain('in-window        2')
  })

  it('asks no context of the administrator', async () => {
    const ran = await runIn({ environment: {}, reply: { mode: 1 } }, 'oracle', 'mode', '--unit', 'smmu0')
    expect([ran.exit, ran.sent[0].request['context'], ran.out]).toEqual([0, '', ['mode         off', 'grace-syncs  0']])
  })

  it.each([
    ['a mode that there is not', ['oracle', 'mode', 'on', '--unit', 'smmu0']],
    ['no unit', ['oracle', 'check']],
    ['two units', ['oracle', 'check', '--unit', 'a', '--unit-id', '1']],
    ['an id that is none', ['oracle', 'check', '--unit-id', 'x']],
    ['a number that is none', ['oracle', 'watch', '--unit', 'a', '--count', 'many']],
  ])('is bad usage with %s', async (_, words) => {
    const ran = await runIn({}, ...words)
    expect([ran.exit, ran.sent]).toEqual([2, []])
  })
})

describe('cache', () => {
  it('stats shows a row for each', async () => {
    const caches = [
      { cache: 'tlb', entries: 3n, capacity: 4096n, hits: 10n, misses: 3n, evictions: 0n, fills: 4n, invalidated: 1n },
    ]
    const ran = await runIn({ reply: { caches, policy: 3 } }, 'cache', 'stats', '--unit', 'smmu0')
    expect(ran.out[0]).toBe('policy  HARDWARE')
    expect(ran.out[2]).toMatch(/^tlb +3 +4096 +10 +3 +4 +0 +1$/)
  })

  it('policy sets it', async () => {
    const ran = await runIn({}, 'cache', 'policy', 'random', '--seed', '7', '--unit-id', '4')
    expect([ran.exit, ran.out]).toEqual([0, ['done']])
    expect(ran.sent[0]).toMatchObject({ method: 'SetCachePolicy', request: { unitId: 4, policy: 5, seed: 7 } })
    expect((await runIn({}, 'cache', 'policy', 'lru', '--unit', 'smmu0')).exit).toBe(2)
  })
})
