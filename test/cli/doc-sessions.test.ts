/** The sessions in documents are what the command line does: each command is run, each line compared. */

import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { startDaemon } from '../../clients/node/testing.js'
import { playSession, sessionsOf } from './doc-session.js'

const read = (name: string): string => readFileSync(resolve(import.meta.dirname, '../../docs', name), 'utf8')

describe('the session in docs/raw-unit.md', () => {
  it('is what iommuctl prints', async () => {
    const daemon = await startDaemon({ inProcess: true })
    const [session] = sessionsOf(read('raw-unit.md'))
    expect(session.length).toBeGreaterThan(14)
    await playSession(session, () => daemon.connect())
    await daemon.stop()
  })
})

describe('the sessions in docs/nested-domains.md', () => {
  const sessions = sessionsOf(read('nested-domains.md'))

  it.each([
    ['windows', 0, 25],
    ['kernel-owned domains on PASIDs', 1, 9],
  ] as const)('%s: they are what iommuctl prints', async (_, index, moreThan) => {
    expect(sessions).toHaveLength(2)
    expect(sessions[index].length).toBeGreaterThan(moreThan)
    const daemon = await startDaemon({ inProcess: true })
    await playSession(sessions[index], () => daemon.connect())
    await daemon.stop()
  })
})

describe('the sessions in docs/faults-and-dirty.md', () => {
  const doc = read('faults-and-dirty.md')
  const sessions = sessionsOf(doc)
  /** The platform of the second session, as the document spells it. */
  const platform = /<!-- platform -->\n```yaml\n([\s\S]*?)```/.exec(doc)?.[1] ?? ''
  const file = join(mkdtempSync(join(tmpdir(), 'iommud-doc-')), 'platform.yaml')
  writeFileSync(file, platform)

  it.each([
    ['page requests and device TLBs', 0, []],
    ['stalls', 1, ['--platform', file]],
    ['events', 2, []],
    ['dirty pages', 3, []],
  ] as const)('%s: they are what iommuctl prints under --strict', async (_, index, args) => {
    expect(sessions).toHaveLength(4)
    expect(sessions[index].length).toBeGreaterThan(8)
    const daemon = await startDaemon({ inProcess: true, args: ['--strict', ...args] })
    await playSession(sessions[index], () => daemon.connect())
    await daemon.stop()
  })
})
