/** Counters for Prometheus. The library is loaded when metrics are wanted, not before. */

import type { CallObserver } from '../rpc/observer.js'

/** Upper bounds of call durations in seconds: a call takes 40 µs here, a slow teardown seconds. */
const DURATION_BUCKETS = [0.0001, 0.00025, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10]

/** What is looked up when somebody scrapes. */
export interface MetricSources {
  readonly version: string
  /** Gauges by name, such as `contexts`. */
  gauges(): Readonly<Record<string, number>>
  /** Counters of the platform's units, by unit and name. */
  unitCounters(): Readonly<Record<string, Readonly<Record<string, number>>>>
}

/** The daemon's metrics. */
export interface Metrics extends CallObserver {
  readonly contentType: string
  /** The exposition text. */
  text(): Promise<string>
}

/** Metrics of a registry of their own: several daemons may live in one process. */
export async function openMetrics(sources: MetricSources): Promise<Metrics> {
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
  addSources(sources, registers, Gauge)
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
  Gauge: typeof import('prom-client').Gauge,
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
    name: 'iommud_unit_events',
    help: 'Counters of the emulated units since the start.',
    labelNames: ['unit', 'event'],
    registers,
    collect() {
      this.reset()
      for (const [unit, counters] of Object.entries(sources.unitCounters())) {
        for (const [event, value] of Object.entries(counters)) this.set({ unit, event }, value)
      }
    },
  })
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory.',
    registers,
    collect() {
      this.set(process.memoryUsage.rss())
    },
  })
}
