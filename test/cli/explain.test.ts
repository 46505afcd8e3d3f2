/** One walk as a person wants it. */

import { describe, expect, it } from 'vitest'
import { runIn } from './fake.js'

const STEP = {
  structure: 'STE',
  stage: 0,
  space: 2,
  address: 0x40010200n,
  location: { regionId: 1, offset: 0x10200n },
  words: [0xbn, 0n],
  fields: [
    { name: 'V', value: 1n, text: '' },
    { name: 'Config', value: 5n, text: 'stage 1' },
    { name: 'S1DSS', value: 0n, text: '' },
  ],
  verdict: 'context descriptors at 0x40020000',
  citation: '[SMMU 5.2 Stream Table Entry]',
}
const OLD = { outcome: 1, location: { regionId: 1, offset: 0x3000n }, pageSizeLog2: 21, permissions: 3 }
const NEW = { outcome: 1, location: { regionId: 1, offset: 0x4000n }, pageSizeLog2: 21, permissions: 3 }

const linesOf = async (explanation: object): Promise<readonly string[]> =>
  (await runIn({ reply: { explanation } }, 'explain', '--device-id', '3', '--iova', '0x1000')).out

describe('explain', () => {
  it('shows each step with its address, words, fields and verdict', async () => {
    expect(await linesOf({ steps: [STEP], fresh: NEW })).toEqual([
      '1. STE at IPA 0x40010200 (region 1 + 0x10200)  [SMMU 5.2 Stream Table Entry]',
      '  words    0x000000000000000b 0x0000000000000000',
      '  fields   V=0x1  Config=0x5 (stage 1)  (1 more are 0)',
      '  verdict  context descriptors at 0x40020000',
      '',
      '             fresh (tables)',
      'outcome      OK',
      'location     region 1 + 0x4000',
      'page         2 MiB',
      'permissions  READ|WRITE',
      'no cache holds a translation of it',
    ])
  })

  it('shows fresh and cached side by side when they differ', async () => {
    const missingInvalidation = 'TLBI_NH_VA of 0x1000'
    expect(await linesOf({ steps: [], fresh: NEW, cached: OLD, missingInvalidation })).toEqual([
      '             fresh (tables)     cached',
      'outcome      OK                 OK',
      'location     region 1 + 0x4000  region 1 + 0x3000  differs',
      'page         2 MiB              2 MiB',
      'permissions  READ|WRITE         READ|WRITE',
      'missing invalidation: TLBI_NH_VA of 0x1000',
    ])
  })

  it('shows them once when they are the same', async () => {
    const lines = await linesOf({ steps: [], fresh: NEW, cached: NEW })
    expect(lines[0]).toBe('             fresh (tables)')
    expect(lines.at(-1)).toBe('the caches say the same')
  })

  it('shows a fault beside what a cache still allows', async () => {
    const fault = { name: 'F_TRANSLATION', code: 0x10, stage: 2, ipa: 0x5000n, reason: 'no entry' }
    const lines = await linesOf({ steps: [], fresh: { outcome: 2, fault }, cached: OLD })
    expect(lines).toContain('outcome      FAULT                 OK                 differs')
    expect(lines).toContain('fault        F_TRANSLATION (0x10)  -                  differs')
    expect(lines).toContain('ipa          0x5000                -                  differs')
  })

  it('asks a raw unit when one is named', async () => {
    const { exit, sent } = await runIn(
      {},
      'explain',
      '--unit-id',
      '2',
      '--source-id',
      '8',
      '--iova',
      '1',
      '--access',
      'w',
    )
    expect(exit).toBe(0)
    expect(sent[0]).toMatchObject({ method: 'ExplainUnit', request: { unitId: 2, sourceId: 8, iova: 1n, access: 2 } })
  })

  it('asks a device otherwise', async () => {
    const { sent } = await runIn({}, 'explain', '--device-id', '3', '--iova', '1', '--pasid', '5', '--access', 'rw')
    expect(sent[0]).toMatchObject({ method: 'Explain', request: { deviceId: 3, iova: 1n, access: 3, pasid: 5 } })
  })
})
