/** Counters for Prometheus. The library is loaded when metrics are wanted, not before. */

import { readdirSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { CallObserver, CallRecord } from '../rpc/observer.js'

/** Upper bounds of call durations in seconds: a call takes 40 µs here, a slow teardown seconds. */
const DURATION_BUCKETS = [0.0001, 0.00025, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10]

/** The library is loaded when the first scrape or this much time comes: a sidecar's first client is through by then. */
const LOAD_AFTER_MS = 500

/** How often the event loop is asked whether it turns. */
const LOOP_SAMPLE_MS = 20

/** Open descriptors of this process, its own look at them included. */
const openDescriptors = (): number => readdirSync('/proc/self/fd').length

/** What is looked up when somebody scrapes. */
export interface MetricSources {
  readonly version: string
  /** Gauges by name, such as `contexts`. */
  gauges(): Readonly<Record<string, number>>
  /** Bytes that clients hold, by the name of the limit. */
  memoryBytes(): Readonly<Record<string, number>>
  /** What was not answered in time since the start, by what it was. */
  timeOuts(): Readonly<Record<string, number>>
  /** Counters of the platform's units, by unit and name. */
  unitCounters(): Readonly<Record<string, Readonly<Record<string, number>>>>
  /** Each cache of each of the platform's units. */
  caches(): readonly CacheMetrics[]
  /** Reports of the oracle since the start, by unit. */
  staleReports(): ReadonlyMap<string, number>
  /** What the oracles that are on have counted, by unit and name. */
  oracles(): Readonly<Record<string, Readonly<Record<string, number>>>>
}

/** One cache. */
export interface CacheMetrics {
  readonly unit: string
  readonly cache: string
  /** Entries now, and as many as it has room for. */
  readonly entries: number
  readonly capacity: number
  /** What it has done, by name. */
  readonly events: Readonly<Record<string, number>>
}

/** The daemon's metrics. */
export interface Metrics extends CallObserver {
  readonly contentType: string
  /** The exposition text. */
  text(): Promise<string>
}

/**
 * Metrics of a registry of their own: several daemons may live in one process. Loading the library takes longer than
 * all else between the configuration and the first call, so it waits until the daemon has started; what happens until
 * then is kept.
 */
export function openMetrics(sources: MetricSources): Metrics {
  const early: CallRecord[] = []
  let started = 0
  let opened: Metrics | undefined
  const load = async (): Promise<Metrics> => {
    const metrics = await openRegistry(sources)
    for (; started > 0; started--) metrics.started()
    for (const record of early.splice(0)) metrics.finished(record)
    opened = metrics
    return metrics
  }
  let loading: Promise<Metrics> | undefined
  const loaded = (): Promise<Metrics> => (loading ??= load())
  setTimeout(() => void loaded(), LOAD_AFTER_MS).unref()
  return {
    contentType: 'text/plain; version=0.0.4; charset=utf-8',
    text: async () => (await loaded()).text(),
    started: () => void (opened === undefined ? started++ : opened.started()),
    finished: (record) => void (opened === undefined ? early.push(record) : opened.finished(record)),
  }
}

async function openRegistry(sources: MetricSources): Promise<Metrics> {
  const { Counter, Gauge, Histogram, Registry } = await import('prom-client')
  const registers = [new Registry()]
  const calls = new Counter({
    name: 'iommud_calls_total',
    help: 'Calls by method and status code.',
    labelNames: ['method', 'transport', 'code'],
    registers,
  })
  const refusals = new Counter({
    name: 'iommud_refusals_total',
    help: 'Refusals by method and errno.',
    labelNames: ['method', 'errno'],
    registers,
  })
  const durations = new Histogram({
    name: 'iommud_call_duration_seconds',
    help: 'How long calls took, from the last byte of the request to the reply.',
    labelNames: ['method'],
    buckets: DURATION_BUCKETS,
    registers,
  })
  const inFlight = new Gauge({ name: 'iommud_calls_in_flight', help: 'Calls being served.', registers })
  addSources(sources, registers, { Gauge, Counter })
  addCaches(sources, registers, { Gauge, Counter })
  addOracles(sources, registers, { Counter })
  addProcess(registers, Gauge)
  return {
    contentType: registers[0].contentType,
    text: () => registers[0].metrics(),
    started: () => inFlight.inc(),
    finished: ({ method, transport, code, durationMs, refusal }) => {
      inFlight.dec()
      calls.inc({ method, transport, code })
      durations.observe({ method }, durationMs / 1000)
      if (refusal !== undefined) refusals.inc({ method, errno: refusal.name })
    },
  }
}

/** What others count is read when it is asked for; resetting first drops what is gone. */
function addSources(
  sources: MetricSources,
  registers: import('prom-client').Registry[],
  { Gauge, Counter }: Pick<typeof import('prom-client'), 'Gauge' | 'Counter'>,
): void {
  new Gauge({ name: 'iommud_info', help: 'The version, as a label.', labelNames: ['version'], registers }).set(
    { version: sources.version },
    1,
  )
  new Gauge({
    name: 'iommud_objects',
    help: 'What the daemon holds, by kind.',
    labelNames: ['kind'],
    registers,
    collect() {
      this.reset()
      for (const [kind, value] of Object.entries(sources.gauges())) this.set({ kind }, value)
    },
  })
  new Gauge({
    name: 'iommud_memory_bytes',
    help: 'What clients hold of the limits, in bytes, by the limit’s name.',
    labelNames: ['limit'],
    registers,
    collect() {
      for (const [limit, value] of Object.entries(sources.memoryBytes())) this.set({ limit }, value)
    },
  })
  new Counter({
    name: 'iommud_timeouts_total',
    help: 'What clients did not answer within its limit: groups of page faults, invalidations of blocked devices.',
    labelNames: ['what'],
    registers,
    collect() {
      this.reset()
      for (const [what, value] of Object.entries(sources.timeOuts())) this.inc({ what }, value)
    },
  })
  new Counter({
    name: 'iommud_unit_events_total',
    help: 'Counters of the emulated units since the start.',
    labelNames: ['unit', 'event'],
    registers,
    collect() {
      this.reset()
      for (const [unit, counters] of Object.entries(sources.unitCounters())) {
        for (const [event, value] of Object.entries(counters)) this.inc({ unit, event }, value)
      }
    },
  })
}

/** A policy that is set anew starts the counters of its unit's caches at 0, as a restart of the daemon does. */
function addCaches(
  sources: MetricSources,
  registers: import('prom-client').Registry[],
  { Gauge, Counter }: Pick<typeof import('prom-client'), 'Gauge' | 'Counter'>,
): void {
  new Gauge({
    name: 'iommud_cache_entries',
    help: 'Entries of each cache of the emulated units: those it holds, and those it has room for.',
    labelNames: ['unit', 'cache', 'what'],
    registers,
    collect() {
      for (const { unit, cache, entries, capacity } of sources.caches()) {
        this.set({ unit, cache, what: 'live' }, entries)
        this.set({ unit, cache, what: 'capacity' }, capacity)
      }
    },
  })
  new Counter({
    name: 'iommud_cache_events_total',
    help: 'What each cache of the emulated units has done since the start, or since its policy was set.',
    labelNames: ['unit', 'cache', 'event'],
    registers,
    collect() {
      this.reset()
      for (const { unit, cache, events } of sources.caches()) {
        for (const [event, value] of Object.entries(events)) this.inc({ unit, cache, event }, value)
      }
    },
  })
}

function addOracles(
  sources: MetricSources,
  registers: import('prom-client').Registry[],
  { Counter }: Pick<typeof import('prom-client'), 'Counter'>,
): void {
  new Counter({
    name: 'iommud_stale_translations_total',
    help: 'Stale translations that the oracle has reported, by unit; those of raw units together.',
    labelNames: ['unit'],
    registers,
    collect() {
      this.reset()
      for (const [unit, value] of sources.staleReports()) this.inc({ unit }, value)
    },
  })
  new Counter({
    name: 'iommud_oracle_events_total',
    help: 'What the oracle of each unit has counted since it was switched on.',
    labelNames: ['unit', 'event'],
    registers,
    collect() {
      this.reset()
      for (const [unit, counts] of Object.entries(sources.oracles())) {
        for (const [event, value] of Object.entries(counts)) this.inc({ unit, event }, value)
      }
    },
  })
}

/** The process itself, under the names that every exporter gives them; and how late its event loop was. */
function addProcess(registers: import('prom-client').Registry[], Gauge: typeof import('prom-client').Gauge): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read())
      },
    })
  }
  const delay = monitorEventLoopDelay({ resolution: LOOP_SAMPLE_MS })
  delay.enable()
  gauge('process_resident_memory_bytes', 'Resident memory.', () => process.memoryUsage.rss())
  gauge('process_start_time_seconds', 'When the process started, Unix time.', () => performance.timeOrigin / 1000)
  gauge('process_open_fds', 'Open file descriptors.', openDescriptors)
  gauge(
    'iommud_event_loop_delay_max_seconds',
    'How long at most the loop kept a timer waiting since the last scrape.',
    () => {
      const { max } = delay
      delay.reset()
      return Math.max(0, max / 1e9 - LOOP_SAMPLE_MS / 1e3)
    },
  )
}
