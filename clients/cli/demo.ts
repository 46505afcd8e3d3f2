/**
 * The demo: the main job on real input. Two captured Linux guests, one arm64 and one Intel, whose page tables stand in
 * memory exactly as their kernels wrote them. A private daemon is given that memory, a VMM's steps make user domains
 * of the guests' tables, and every lookup that the guests' devices made is made again as a DMA.
 */

import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type ContextClient, ContextLifetime } from '../node/index.js'
import { startDaemon } from '../node/testing.js'
import { agrees, describeAnswer, describeRow, hex } from './capture/compare.js'
import { type Capture, type CapturedRow, loadCapture } from './capture/folder.js'
import { registerGuestMemory } from './capture/raw-replay.js'
import { UserReplay, userStreams } from './capture/user-replay.js'
import { batches, type LeftOut, sortOut } from './capture/verify.js'
import { type Forgotten, forgetInvalidation } from './demo-forgotten.js'
import { startProgress } from './progress.js'

/** What the demo is run with. */
export interface DemoOptions {
  /** One line of JSON at the end instead of the story. */
  readonly json?: boolean
  /** Writes a line for people. */
  readonly print: (line: string) => void
}

/** One guest through one kind of attachment. */
interface Leg {
  readonly guest: string
  readonly attachedTo: string
  translations: number
  matched: number
  faults: number
  cacheHits: number
  readonly skipped: ReadonlyMap<string, number>
  readonly forgotten: Forgotten
}

/** The Intel guest used no PASIDs; this one shows that its table serves one just as well. */
const DEMO_PASID = 5

/** Runs the demo. Answers the exit status: 0 when every lookup matched. */
export async function runDemo(options: DemoOptions): Promise<number> {
  const say = options.json === true ? () => {} : options.print
  const captures = fixturesFolder()
  say('Starting a private iommud on its built-in platform: one SMMUv3, one VT-d.')
  const daemon = await startDaemon()
  const legs: Leg[] = []
  try {
    for (const [folder, deviceName, pasids] of GUESTS) {
      const capture = loadCapture(join(captures, folder))
      say('')
      say(`${titleOf(capture)}: ${capture.rows.length.toLocaleString('en')} recorded lookups.`)
      for (const pasid of pasids) {
        const { context } = await daemon.client.openContext({ lifetime: ContextLifetime.EXPLICIT, label: 'demo' })
        legs.push(await runLeg(daemon.client.inContext(context), capture, deviceName, pasid, say))
        await daemon.client.closeContext({ context })
      }
    }
  } finally {
    await daemon.stop()
  }
  const wrong = legs.reduce((sum, leg) => sum + leg.translations - leg.matched, 0)
  if (options.json === true) options.print(JSON.stringify({ legs: legs.map(plain), mismatched: wrong }))
  else showTable(legs, options.print)
  return wrong === 0 ? 0 : 1
}

/** Which capture, on which device of the built-in platform, attached how. */
const GUESTS: readonly (readonly [string, string, readonly (number | undefined)[]])[] = [
  ['A', '0000:00:01.0', [undefined]],
  ['F', '0000:01:01.0', [undefined, DEMO_PASID]],
]

const titleOf = (capture: Capture): string =>
  capture.type === 'smmuv3'
    ? `arm64 guest behind SMMUv3, ${capture.kernel}`
    : `Intel guest behind VT-d, ${capture.kernel}`

async function runLeg(
  context: ContextClient,
  capture: Capture,
  deviceName: string,
  pasid: number | undefined,
  say: (line: string) => void,
): Promise<Leg> {
  const attachedTo = pasid === undefined ? 'RID' : `RID + PASID ${pasid}`
  const regions = await registerGuestMemory(context, capture)
  const replay = await UserReplay.start(context, capture, regions, deviceName)
  const streams = new Map(userStreams(capture).map((stream) => [stream.sid, stream]))
  const left: LeftOut = { skips: new Map(), outside: new Map() }
  const rows = sortOut(replay, capture.rows, streams, left)
  say(`  memory registered, nesting parent ${replay.parentId} made; ${streams.size} streams, each to ${attachedTo}`)
  const tally = { translations: 0, matched: 0, faults: 0, cacheHits: 0 }
  const total = [...rows.values()].reduce((sum, own) => sum + own.length, 0)
  const bar = startProgress(`  ${attachedTo}`, total)
  let forgotten: Forgotten | undefined
  for (const [sid, stream] of streams) {
    const own = rows.get(sid) ?? []
    await replay.attach(stream, pasid)
    await lookUp(replay, own, tally, bar.update, say)
    forgotten ??= await forgetInvalidation(context, replay, own)
    await replay.detach()
  }
  bar.end()
  if (forgotten === undefined) throw new Error('no stream of the capture maps a page of 4 KiB')
  return {
    guest: titleOf(capture),
    attachedTo,
    ...tally,
    skipped: new Map([...left.skips, ...left.outside]),
    forgotten,
  }
}

async function lookUp(
  replay: UserReplay,
  rows: readonly CapturedRow[],
  tally: { translations: number; matched: number; faults: number; cacheHits: number },
  update: (done: number) => void,
  say: (line: string) => void,
): Promise<void> {
  for (const batch of batches(rows)) {
    const { answers, hits } = await replay.translate(batch)
    tally.cacheHits += hits
    for (const [i, row] of batch.entries()) {
      tally.translations++
      if (agrees(row, answers[i])) tally.matched++
      else say(`  MISMATCH ${describeRow(row)}, answered ${describeAnswer(answers[i])}`)
      if (row.pa === undefined) tally.faults++
    }
    update(tally.translations)
  }
}

function showTable(legs: readonly Leg[], print: (line: string) => void): void {
  const head = ['guest', 'attached to', 'lookups', 'matched', 'of them faults', 'cache hits']
  const body = legs.map((leg) => [
    leg.guest,
    leg.attachedTo,
    ...[leg.translations, leg.matched, leg.faults, leg.cacheHits].map((count) => count.toLocaleString('en')),
  ])
  const widths = head.map((title, i) => Math.max(title.length, ...body.map((row) => row[i].length)))
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ')
  print('')
  print(line(head))
  print(widths.map((width) => '-'.repeat(width)).join('  '))
  for (const row of body) print(line(row))
  for (const leg of legs) {
    for (const [reason, count] of leg.skipped) print(`  not looked up (${leg.attachedTo}): ${count} rows, ${reason}`)
  }
  for (const leg of legs) showForgotten(leg, print)
}

function showForgotten({ guest, attachedTo, forgotten }: Leg, print: (line: string) => void): void {
  print('')
  print(`A forgotten invalidation: ${guest}, ${attachedTo}`)
  print(`  The guest changed the entry at ${hex(forgotten.entryAddress)} and told nobody:`)
  print(`    ${hex(forgotten.oldEntry)} -> ${hex(forgotten.newEntry)}`)
  print(`  A DMA to ${hex(forgotten.iova)} goes to`)
  print(`    cached  ${hex(forgotten.cached)}   what the hardware used`)
  print(`    fresh   ${hex(forgotten.fresh)}   what the tables say`)
  print(`  After ${forgotten.command} it goes to ${hex(forgotten.after)}.`)
}

/** The leg as JSON can hold it. */
function plain(leg: Leg): Record<string, unknown> {
  const forgotten = Object.fromEntries(
    Object.entries(leg.forgotten).map(([key, value]) => [key, typeof value === 'bigint' ? hex(value) : value]),
  )
  return { ...leg, skipped: Object.fromEntries(leg.skipped), forgotten }
}

/** The captures of the checkout, from the sources or from their compiled form. */
function fixturesFolder(): string {
  const places = ['../../test/fixtures/captures', '../../../test/fixtures/captures']
  const found = places.map((place) => resolve(import.meta.dirname, place)).find((place) => existsSync(place))
  if (found === undefined) throw new Error('the demo needs the captures of a checkout (test/fixtures/captures)')
  return found
}
