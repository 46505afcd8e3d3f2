/** `iommuctl transcript verify`: a real kernel's recorded answers, compared with this daemon's, ioctl by ioctl. */

import { Command } from 'commander'
import { type Client, ContextLifetime } from '../node/index.js'
import type { SetExit } from './command-verb.js'
import { EXIT, reportFailure } from './failure.js'
import { printable } from './format.js'
import type { Globals } from './globals.js'
import { Interrupted, untilInterrupted } from './interrupt.js'
import type { Io } from './io.js'
import { startProgress } from './progress.js'
import { machineOf, type RecordedMachine } from './transcript/machine.js'
import { onMachine } from './transcript/private-daemon.js'
import { loadRecording, type Recording, RecordingError } from './transcript/recording.js'
import { holds, type Mismatch, summaryOf, type TranscriptResult, verifyRecording } from './transcript/verify.js'
import { UsageError } from './values.js'

/** Mismatches that are printed. After the first one the rest may be its consequences. */
const SHOWN_MISMATCHES = 100

/** The command. */
export function transcriptCommand(io: Io, setExit: SetExit): Command {
  const transcript = new Command('transcript').description('Recorded answers of a real kernel.').helpGroup('Tools')
  const verify = transcript
    .command('verify <file>')
    .description(
      'Makes every ioctl of a recording again and compares errno, struct and memory with what the kernel answered: on a ' +
        'private daemon whose platform is the recorded machine. The last line counts calls, matched, excused and ' +
        'mismatched. Exit status 0 if all match, 1 if one does not or more than 2 % are excused, 2 if the file cannot ' +
        'be read.',
    )
  verify.action(async (file: string) => setExit(await transcriptVerify(file, verify.optsWithGlobals<Globals>(), io)))
  return transcript
}

async function transcriptVerify(file: string, globals: Globals, io: Io): Promise<number> {
  const json = globals.json === true
  try {
    if (globals.socket !== undefined || globals.tcp !== undefined) {
      throw new UsageError("the recorded machine is a private daemon's: --socket and --tcp name another")
    }
    const recording = loadRecording(file)
    const machine = machineOf(recording)
    const result = await untilInterrupted((interrupted) => verifyOn(recording, machine, interrupted))
    // A program reads the result alone; what explains it is for a person.
    const say = json ? io.err : io.out
    for (const mismatch of result.mismatches.slice(0, SHOWN_MISMATCHES)) say(printable(textOf(mismatch)))
    const hidden = result.mismatches.length - SHOWN_MISMATCHES
    if (hidden > 0) say(`and ${hidden} more`)
    for (const line of explain(recording, result)) say(printable(line))
    io.out(JSON.stringify(summaryOf(result)))
    return holds(result) ? EXIT.DONE : EXIT.REFUSED
  } catch (error) {
    if (error instanceof Interrupted) return error.exit
    const unreadable = error instanceof RecordingError
    return reportFailure('transcript verify', unreadable ? new UsageError(error.message) : error, json, io)
  }
}

/** Plays the recording to its machine, until a signal comes. */
function verifyOn(
  recording: Recording,
  machine: RecordedMachine,
  interrupted: Promise<never>,
): Promise<TranscriptResult> {
  return onMachine(machine, (client) => {
    const work = verifyWithProgress(client, recording, machine)
    // Once interrupted, nobody waits for the rest of it; its calls fail when the daemon ends.
    work.catch(() => {})
    return Promise.race([work, interrupted])
  })
}

async function verifyWithProgress(
  client: Client,
  recording: Recording,
  machine: RecordedMachine,
): Promise<TranscriptResult> {
  const open = async (label: string) => {
    const { context } = await client.openContext({ lifetime: ContextLifetime.EXPLICIT, label })
    return client.inContext(context)
  }
  const [first, second] = [await open('transcript verify'), await open('transcript verify, second /dev/iommu')]
  const bar = startProgress('calls', recording.calls.length)
  try {
    return await verifyRecording(recording, machine, first, second, (done) => bar.update(done))
  } finally {
    bar.end()
  }
}

function textOf({ line, how }: Mismatch): string {
  const input = line.input.length === 0 ? '' : ` ${Buffer.from(line.input).toString('hex')}`
  return `mismatch: call ${line.n}, ${line.call} on ${line.fd}${input}: ${how}`
}

function explain({ file, unit, seed, kernel }: Recording, { excused }: TranscriptResult): string[] {
  const version = /\b\d+\.\d+(\.\d+)?/.exec(kernel)?.[0] ?? 'of unknown version'
  const rules = [...excused].filter(([, count]) => count > 0)
  return [
    `${file}: ${unit}, Linux ${version}, seed ${seed}`,
    ...rules.map(([{ name, property }, count]) => `  excused ${count}: ${name}: ${property}`),
  ]
}
