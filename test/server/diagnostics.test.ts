/** The listener for probes and scrapers. */

import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { diagnosticsServer } from '../../server/ops/diagnostics.js'
import { openMetrics } from '../../server/ops/metrics.js'
import type { CallRecord } from '../../server/rpc/observer.js'

let url = ''
let reason: string | undefined
const metrics = openMetrics({
  version: '1.2.3',
  gauges: () => ({ contexts: 2 }),
  memoryBytes: () => ({ resident_bytes: 65536 }),
  timeOuts: () => ({ fault_groups: 3 }),
  unitCounters: () => ({ smmu0: { walks: 5 } }),
  staleReports: () => new Map([['smmu0', 9]]),
  oracles: () => ({ smmu0: { inWindow: 10 } }),
  caches: () => [{ unit: 'smmu0', cache: 'tlb', entries: 6, capacity: 7, events: { hits: 8 } }],
})
const server = diagnosticsServer({ notReady: () => reason, version: { version: '1.2.3', bootId: 'b' }, metrics })

beforeAll(async () => {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => server.close())

const record: CallRecord = {
  method: 'IommuService/IoasMap',
  transport: 'http',
  uid: 1,
  connection: 1,
  contextNumber: 1,
  code: 'failed_precondition',
  durationMs: 2,
  refusal: { errno: 16, name: 'EBUSY', reason: '', context: {} },
}

describe('the diagnostics listener', () => {
  it('says that it lives', async () => {
    const answer = await fetch(`${url}/livez`)
    expect([answer.status, await answer.text()]).toEqual([200, 'ok\n'])
  })

  it('says whether calls are taken, and why not', async () => {
    expect((await fetch(`${url}/readyz`)).status).toBe(200)
    reason = 'the daemon is stopping'
    const answer = await fetch(`${url}/readyz?verbose`)
    expect([answer.status, await answer.text()]).toEqual([503, 'the daemon is stopping\n'])
    expect((await fetch(`${url}/livez`)).status).toBe(200)
    reason = undefined
  })

  it('tells its version', async () => {
    expect(await (await fetch(`${url}/version`)).json()).toEqual({ version: '1.2.3', bootId: 'b' })
  })

  it('counts calls, refusals and durations, and asks for the rest when it is scraped', async () => {
    metrics.started()
    metrics.started()
    metrics.finished(record)
    const answer = await fetch(`${url}/metrics`)
    expect(answer.headers.get('content-type')).toMatch(/^text\/plain; version=/)
    const text = await answer.text()
    for (const line of [
      'iommud_calls_total{method="IommuService/IoasMap",transport="http",code="failed_precondition"} 1',
      'iommud_refusals_total{method="IommuService/IoasMap",errno="EBUSY"} 1',
      'iommud_call_duration_seconds_bucket{le="0.005",method="IommuService/IoasMap"} 1',
      'iommud_call_duration_seconds_bucket{le="0.001",method="IommuService/IoasMap"} 0',
      'iommud_calls_in_flight 1',
      'iommud_objects{kind="contexts"} 2',
      'iommud_unit_events_total{unit="smmu0",event="walks"} 5',
      '# TYPE iommud_unit_events_total counter',
      'iommud_stale_translations_total{unit="smmu0"} 9',
      'iommud_oracle_events_total{unit="smmu0",event="inWindow"} 10',
      'iommud_cache_entries{unit="smmu0",cache="tlb",what="live"} 6',
      'iommud_cache_entries{unit="smmu0",cache="tlb",what="capacity"} 7',
      'iommud_cache_events_total{unit="smmu0",cache="tlb",event="hits"} 8',
      'iommud_memory_bytes{limit="resident_bytes"} 65536',
      'iommud_timeouts_total{what="fault_groups"} 3',
      'iommud_info{version="1.2.3"} 1',
    ]) {
      expect(text).toContain(line)
    }
    for (const name of ['process_open_fds', 'process_start_time_seconds', 'iommud_event_loop_delay_max_seconds']) {
      expect(Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])).toBeGreaterThanOrEqual(0)
    }
  })

  it('answers nothing else', async () => {
    expect((await fetch(`${url}/`)).status).toBe(404)
    const post = await fetch(`${url}/livez`, { method: 'POST' })
    expect([post.status, post.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
  })

  it('keeps apart from another daemon’s in the same process', async () => {
    const nothing = () => ({})
    const counts = { unitCounters: nothing, caches: () => [], staleReports: () => new Map(), oracles: nothing }
    const sources = { gauges: nothing, memoryBytes: nothing, timeOuts: nothing, ...counts }
    const other = openMetrics({ version: '2', ...sources })
    expect(await other.text()).not.toContain('EBUSY')
  })
})
