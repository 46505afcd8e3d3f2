/**
 * Streams of raw units whose driver and device do what they like, on two connections at once: nothing crashes, no quota
 * is passed, and the end of the context, or of its client, ends all that was held.
 */

import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { ContextLifetime, createClient } from '../../clients/node/index.js'
import { startDaemon } from '../../clients/node/testing.js'
import { httpTransport } from '../../clients/node/transport.js'
import { bugLines, residentMib } from './process-facts.js'
import { Random } from './random.js'
import { StreamDriver } from './stream-driver.js'

const SEEDS = Array.from({ length: process.env.IOMMUD_TEST_LONG === '1' ? 100 : 6 }, (_, i) => i + 1)
const STEPS = 600

/** Few enough to be met: a unit holds up to 80 requests, and page requests have no such bound. */
const PENDING = 60

/** What a daemon with a few units needs, and no more. */
const RESIDENT_MIB = 400

describe(`streams that make ${STEPS} wild steps`, () => {
  const adminPath = join(tmpdir(), `iommud-streams-${process.pid}.sock`)
  const started = startDaemon({ args: ['--admin', adminPath, '--limit', `context.pending_dma=${PENDING}`] })
  const admin = createClient(httpTransport({ socketPath: adminPath }))
  const met = new Set<string>()
  const refusals = new Set<string>()
  afterAll(async () => {
    admin.close()
    await (await started).stop()
    rmSync(adminPath, { force: true })
  })

  it.each(SEEDS)('pass no quota and leave nothing (seed %i)', async (seed) => {
    const daemon = await started
    const owner = daemon.connect()
    const { context } = await owner.openContext({ lifetime: ContextLifetime.CONNECTION })
    const driver = new StreamDriver(daemon.client, context, new Random(seed, 7))
    await driver.start()
    const inside = owner.inContext(context)
    for (let i = 0; i < STEPS; i++) {
      const [first, second] = await Promise.all([driver.step(), driver.step()])
      for (const { name, refusal } of [first, second]) {
        if (refusal === undefined) continue
        refusals.add(`${name}: ${refusal.errnoName}`)
        expect(['EINVAL', 'ENOENT', 'EDQUOT', 'EBUSY', 'EOPNOTSUPP'], `${name}: ${refusal.message}`).toContain(
          refusal.errnoName,
        )
      }
      if (i % 25 !== 0) continue
      const { quotas } = await inside.getContext({})
      for (const { name, used, limit } of quotas) expect(used <= limit, name).toBe(true)
    }
    for (const each of driver.met) met.add(each)
    // A client that closes its context, and one that is gone, leave the same.
    if (seed % 2 === 0) await inside.closeContext({})
    owner.close()
    for (let tries = 0; tries < 200 && (await admin.listContexts({})).contexts.length > 0; tries++) {
      await new Promise((done) => setTimeout(done, 10))
    }
    expect((await admin.listContexts({})).contexts).toEqual([])
    expect(bugLines(daemon.log())).toEqual([])
    expect(residentMib(daemon.pid)).toBeLessThan(RESIDENT_MIB)
  })

  it('met every kind of end on the way', () => {
    const outcomes = ['1', '2', '3', '5'].map((outcome) => `outcome ${outcome}`)
    const ended = ['1 0', '3 0', '4 0', '5 0', '1 1', '1 2', '1 3'].map((how) => `ended ${how}`)
    const statuses = ['1', '2'].map((status) => `status ${status}`)
    expect([...met]).toEqual(expect.arrayContaining([...outcomes, ...ended, ...statuses, 'gerror']))
    expect([...refusals]).toEqual(expect.arrayContaining(['access: EDQUOT', 'pages: EDQUOT', 'complete: ENOENT']))
  })
})
