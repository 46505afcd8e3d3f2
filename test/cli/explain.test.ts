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

  describe('of a nested walk', () => {
    const behind = {
      structure: 'stage-2 table entry',
      stage: 2,
      space: 0,
      address: 0n,
      words: [],
      fields: [],
      citation: '',
    }
    const root = {
      ...behind,
      level: 1,
      fields: [{ name: 'NextTable', value: 0n, text: 'not told' }],
      verdict: 'next table',
    }
    const leaf = { ...behind, level: 2, verdict: 'leaf, 2 MiB, read-write' }
    const location = { regionId: 1, offset: 0x1000n }
    const entry = { structure: 'stage-1 table entry', stage: 1, level: 3, space: 2, address: 0x5000n, location }
    const first = { ...entry, words: [0x40200f47n], fields: [], verdict: 'leaf, 4 KiB, at IPA 0x9000', citation: '' }
    const output = {
      ...behind,
      structure: 'output',
      stage: 0,
      space: 2,
      address: 0x9000n,
      location,
      verdict: 'translated',
    }
    const steps = [root, leaf, first, root, leaf, output]
    const run = async (explanation: object, ...words: string[]): Promise<readonly string[]> =>
      (await runIn({ reply: { explanation } }, 'explain', '--device-id', '3', '--iova', '1', ...words)).out

    it('is a line for each walk of stage 2, below what it is for', async () => {
      const lines = await run({ steps, fresh: NEW })
      expect(lines.slice(0, lines.indexOf(''))).toEqual([
        '3. stage-1 table entry, level 3 at IPA 0x5000 (region 1 + 0x1000)',
        '  words    0x0000000040200f47',
        '  verdict  leaf, 4 KiB, at IPA 0x9000',
        '  stage 2  IPA 0x5000 -> region 1 + 0x1000 (2 steps)',
        '6. output at IPA 0x9000 (region 1 + 0x1000)',
        '  verdict  translated',
        '  stage 2  IPA 0x9000 -> region 1 + 0x1000 (2 steps)',
      ])
    })

    it('is every step of them with --all', async () => {
      const lines = await run({ steps, fresh: NEW }, '--all')
      expect(lines.filter((line) => /^ *\d+\. /.test(line))).toEqual([
        '3. stage-1 table entry, level 3 at IPA 0x5000 (region 1 + 0x1000)',
        '  1. stage-2 table entry, level 1',
        '  2. stage-2 table entry, level 2',
        '6. output at IPA 0x9000 (region 1 + 0x1000)',
        '  4. stage-2 table entry, level 1',
        '  5. stage-2 table entry, level 2',
      ])
      expect(lines).toContain('    fields   NextTable (not told)')
    })

    it('shows the entry at which stage 2 refused', async () => {
      const refused = { ...leaf, verdict: 'F_TRANSLATION: not valid' }
      const fault = { ...behind, structure: 'fault', stage: 2, space: 2, address: 0x9000n, verdict: 'F_TRANSLATION' }
      const lines = await run({ steps: [root, leaf, first, root, refused, fault], fresh: { outcome: 2 } })
      expect(lines.slice(4, lines.indexOf(''))).toEqual([
        '6. fault, stage 2 at IPA 0x9000',
        '  verdict  F_TRANSLATION',
        '  stage 2  IPA 0x9000 -> F_TRANSLATION: not valid (2 steps)',
        '  5. stage-2 table entry, level 2',
        '    verdict  F_TRANSLATION: not valid',
      ])
    })
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

  it('tells how a translation request is completed', async () => {
    const words = ['explain', '--unit-id', '2', '--source-id', '8', '--iova', '1', '--request-type', 'translation']
    const fresh = { outcome: 1, atsStatus: 1, pageSizeLog2: 12 }
    const { out, sent } = await runIn({ reply: { explanation: { fresh } } }, ...words)
    expect(sent[0].request['requestType']).toBe(1)
    expect(out.slice(1, 4)).toEqual(['completion  SUCCESS', 'outcome     OK', 'page        4 KiB'])
  })

  it('asks a device otherwise', async () => {
    const { sent } = await runIn({}, 'explain', '--device-id', '3', '--iova', '1', '--pasid', '5', '--access', 'rw')
    expect(sent[0]).toMatchObject({ method: 'Explain', request: { deviceId: 3, iova: 1n, access: 3, pasid: 5 } })
  })
})
