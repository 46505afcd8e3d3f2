/** `iommuctl capture verify`: a capture's lookups, made again on this daemon and compared with its truth. */

import { Command } from 'commander'
import { type Client, type ContextClient, ContextLifetime, UnitType } from '../node/index.js'
import { startDaemon } from '../node/testing.js'
import { describeAnswer, describeRow, type Mismatch } from './capture/compare.js'
import { type Capture, CaptureError, loadCapture } from './capture/folder.js'
import { userStreams } from './capture/user-replay.js'
import { summaryOf, type VerifyResult, verifyCapture } from './capture/verify.js'
import type { SetExit } from './command-verb.js'
import { EXIT, reportFailure } from './failure.js'
import { printable } from './format.js'
import { type Globals, targetOf } from './globals.js'
import { Interrupted, untilInterrupted } from './interrupt.js'
import type { Io } from './io.js'
import { type Progress, startProgress } from './progress.js'
import { indent, table } from './table.js'
import { UsageError } from './values.js'

/** The command. */
export function captureCommand(io: Io, setExit: SetExit): Command {
  const capture = new Command('capture').description('Memory and lookups of a real guest.').helpGroup('Tools')
  const verify = capture
    .command('verify <folder>')
    .description(
      'Makes every lookup of a capture again: on a raw unit, then through user domains where the capture has them. ' +
        'On a private daemon, unless --socket or --tcp names one. Exit status 0 if all match, 1 if one does not, 2 if ' +
        'the folder cannot be read.',
    )
  verify.action(async (folder: string) => setExit(await captureVerify(folder, verify.optsWithGlobals<Globals>(), io)))
  return capture
}

async function captureVerify(folder: string, globals: Globals, io: Io): Promise<number> {
  const json = globals.json === true
  try {
    const capture = load(folder)
    const result = await untilInterrupted((interrupted) => verifyOn(capture, globals, io, interrupted))
    for (const mismatch of result.mismatches) showMismatch(mismatch, json, io)
    if (json) io.out(JSON.stringify(summaryOf(result)))
    else showResult(capture, result, io)
    return result.mismatches.length === 0 ? EXIT.DONE : EXIT.REFUSED
  } catch (error) {
    if (error instanceof Interrupted) return error.exit
    const unreadable = error instanceof CaptureError
    return reportFailure('capture verify', unreadable ? new UsageError(error.message) : error, json, io)
  }
}

/** @throws CaptureError for whatever is wrong with the folder */
function load(folder: string): Capture {
  try {
    return loadCapture(folder)
  } catch (error) {
    if (error instanceof CaptureError) throw error
    throw new CaptureError(`${folder} cannot be read: ${error instanceof Error ? error.message : error}`)
  }
}

/** Verifies on the daemon that was named or on a private one, and closes what it opened, whatever happens. */
async function verifyOn(
  capture: Capture,
  globals: Globals,
  io: Io,
  interrupted: Promise<never>,
): Promise<VerifyResult> {
  const named = globals.socket !== undefined || globals.tcp !== undefined
  const target = targetOf(globals, io)
  const daemon = named ? undefined : await startDaemon()
  const client = daemon === undefined ? io.connect(target) : daemon.client
  try {
    return await inContext(client, (context) => {
      const work = verifyWithProgress(client, context, capture)
      // Once interrupted, nobody waits for the rest of it; its calls fail when the context closes.
      work.catch(() => {})
      return Promise.race([work, interrupted])
    })
  } finally {
    client.close()
    await daemon?.stop()
  }
}

async function inContext<T>(client: Client, work: (context: ContextClient) => Promise<T>): Promise<T> {
  const { context } = await client.openContext({ lifetime: ContextLifetime.EXPLICIT, label: 'capture verify' })
  try {
    return await work(client.inContext(context))
  } finally {
    // A daemon that is gone took the context with it; the reason of the failure is then the other error's.
    await client.closeContext({ context }).catch(() => {})
  }
}

async function verifyWithProgress(client: Client, context: ContextClient, capture: Capture): Promise<VerifyResult> {
  const deviceName = userStreams(capture).length === 0 ? '' : await freeDevice(client, context, capture.type)
  let bar: Progress | undefined
  let shown = ''
  try {
    return await verifyCapture(context, capture, deviceName, (phase, done, total) => {
      if (phase !== shown) {
        bar?.end()
        bar = startProgress(phase, total)
        shown = phase
      }
      bar?.update(done)
    })
  } finally {
    bar?.end()
  }
}

/** A device of the architecture that nobody has: not mediated, not bound, none of its children bound. */
async function freeDevice(client: Client, context: ContextClient, type: Capture['type']): Promise<string> {
  const wanted = type === 'smmuv3' ? UnitType.SMMUV3 : UnitType.VTD
  const { units } = await client.getServerInfo()
  const { devices } = await context.listDevices()
  const behind = new Set(units.filter((unit) => unit.type === wanted).map(({ name }) => name))
  const taken = new Set(devices.filter(({ bound }) => bound).flatMap(({ name, parentName }) => [name, parentName]))
  const free = devices.find(
    ({ name, unitName, parentName }) => behind.has(unitName) && parentName === '' && !taken.has(name),
  )
  if (free === undefined) throw new Error(`no device behind a ${type} unit of this daemon is free`)
  return free.name
}

function showMismatch({ row, answer, through, walk }: Mismatch, json: boolean, io: Io): void {
  const lookup = describeRow(row)
  const answered = describeAnswer(answer)
  if (json) io.out(JSON.stringify({ mismatch: { through, lookup, answered, walk } }))
  else {
    io.out(printable(`mismatch (${through}): ${lookup}, answered ${answered}`))
    for (const line of indent(walk, 4)) io.out(printable(line))
  }
}

function showResult(capture: Capture, result: VerifyResult, io: Io): void {
  const { raw, userDomain } = result
  io.out(printable(`${capture.name}: ${capture.type}, ${capture.kernel}, ${result.translations} lookups`))
  const rows = [
    ['raw unit', raw.matched, raw.mismatched, raw.skipped],
    ['user domain', userDomain.matched, userDomain.mismatched, userDomain.skipped],
  ].map((row) => row.map(String))
  for (const line of indent(table(['through', 'matched', 'mismatched', 'skipped'], rows))) io.out(line)
  for (const [reason, count] of result.skips) io.out(printable(`  skipped ${count}: ${reason}`))
  for (const [reason, count] of result.outside) io.out(printable(`  reach no page table ${count}: ${reason}`))
}
