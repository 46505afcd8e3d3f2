/**
 * `npm run bench [-- --quick] [--json]`: what a translation costs, on the captured arm64 guest's own lookups, and what
 * one client's large call costs another; as ratios measured side by side in one run.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { areaMaps } from './areas.js'
import { guestLookups } from './guest.js'
import { type Contender, race, type Timing } from './measure.js'
import { waitsBesideNeighbours } from './neighbours.js'
import { overTheSocket } from './socket.js'
import { waitsBesideLargeCalls } from './turns.js'

/** One line of the result. */
interface Row {
  readonly id: string
  readonly what: string
  readonly measured: number
  readonly detail: Readonly<Record<string, number>>
}

const quick = process.argv.includes('--quick')
const json = process.argv.includes('--json')
const TURNS = quick ? 5 : 9
const TURN_MS = quick ? 60 : 250
/** Large calls that take less than a second. */
const QUICK_CALLS = ['translate-smmuv3', 'translate-vtd', 'batch-20k-maps', 'unit-vtd-queue']

const rows: Row[] = []

await hitsAndWalks()
await messages()
await areas()
await turns()
await neighbours()
report()

/** A hit and a walk of the whole unit, beside a lookup of the same pages in a plain Map. */
async function hitsAndWalks(): Promise<void> {
  const guest = guestLookups()
  const timings = await race([guest.map, guest.hit, guest.walk], TURNS, TURN_MS)
  add('hit', 'translate() that hits, against a JS Map keyed by page', timings, guest.hit, guest.map)
  add('walk', 'translate() that walks four levels, against one that hits', timings, guest.walk, guest.hit)
}

/** Translations over the socket at several message sizes, beside the same unit in process. */
async function messages(): Promise<void> {
  const { contenders, inProcess, stop } = await overTheSocket([1, 64, 1024])
  try {
    const timings = await race([inProcess, ...contenders], TURNS, TURN_MS)
    for (const contender of contenders) {
      add(contender.name, 'per translation over the socket, against in process', timings, contender, inProcess)
    }
  } finally {
    await stop()
  }
}

/** A million areas, beside a thousand. */
async function areas(): Promise<void> {
  for (const [few, many] of areaMaps()) {
    add(many.name, 'among a million areas, against a thousand', await race([few, many], TURNS, TURN_MS), many, few)
  }
}

/** How long GetServerInfo waits beside another client's large call, against how long it waits alone. */
async function turns(): Promise<void> {
  const [idle, ...waits] = await waitsBesideLargeCalls(quick ? QUICK_CALLS : [])
  for (const { name, p99Ms, longestMs, tookMs } of waits) {
    const detail = { 'p99 ms': p99Ms, 'idle p99 ms': idle.p99Ms, 'longest ms': longestMs, 'the call ms': tookMs }
    rows.push({
      id: `turns-${name}`,
      what: 'p99 of GetServerInfo beside it, against idle',
      measured: Math.round((p99Ms / idle.p99Ms) * 100) / 100,
      detail,
    })
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Kturns-${name} done`)
  }
}

/** How long one translation waits beside two loud clients, against how long it waits alone. */
async function neighbours(): Promise<void> {
  const [idle, beside] = await waitsBesideNeighbours(quick ? 500 : 3000, quick ? 1 : 3)
  rows.push({
    id: 'third-translate',
    what: 'p99 of Translate while one client maps and unmaps 16 GiB and another ends with 100,000 areas, against idle',
    measured: Math.round((beside.p99Ms / idle.p99Ms) * 100) / 100,
    detail: {
      'p99 ms': beside.p99Ms,
      'idle p99 ms': idle.p99Ms,
      'longest ms': beside.longestMs,
      'it took ms': beside.tookMs,
    },
  })
}

function add(id: string, what: string, timings: readonly Timing[], one: Contender, other: Contender): void {
  const ns = (contender: Contender): number =>
    timings.find(({ name }) => name === contender.name)?.medianNs ?? Number.NaN
  const measured = Math.round((ns(one) / ns(other)) * 100) / 100
  rows.push({ id, what, measured, detail: { [`${one.name} ns`]: ns(one), [`${other.name} ns`]: ns(other) } })
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${id} done`)
}

function report(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
  const folder = resolve(import.meta.dirname, '../../bench/results')
  mkdirSync(folder, { recursive: true })
  const text = JSON.stringify({ rows })
  writeFileSync(resolve(folder, 'latest.json'), `${text}\n`)
  if (json) {
    console.log(text)
    return
  }
  for (const { id, what, measured, detail } of rows) {
    const parts = Object.entries(detail).map(([name, ns]) => `${name} ${ns.toFixed(1)}`)
    console.log(`${id.padEnd(26)} ${`${measured} x`.padStart(10)}   ${what} (${parts.join(', ')})`)
  }
}
