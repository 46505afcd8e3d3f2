/** Recordings of the fixtures, played by `transcript verify`'s own code to a daemon in this process. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { machineOf } from '../../clients/cli/transcript/machine.js'
import { loadRecording, type RecordedCall, type Recording } from '../../clients/cli/transcript/recording.js'
import { type TranscriptResult, verifyRecording } from '../../clients/cli/transcript/verify.js'
import { ContextLifetime } from '../../clients/node/index.js'
import { startDaemon } from '../../clients/node/testing.js'

const FOLDER = join(import.meta.dirname, '../fixtures/transcripts')

/** A recording of the fixtures. */
export const recordingOf = (name: string): Recording => loadRecording(join(FOLDER, `${name}.jsonl.gz`))

/** Plays a recording on its machine, or on another one. */
export async function play(recording: Recording, machine = machineOf(recording)): Promise<TranscriptResult> {
  const folder = mkdtempSync(join(tmpdir(), 'iommud-kernel-'))
  const platform = join(folder, 'platform.json')
  writeFileSync(platform, JSON.stringify(machine.platform))
  const daemon = await startDaemon({ inProcess: true, args: ['--platform', platform, ...machine.args] })
  try {
    const open = async () => {
      const { context } = await daemon.client.openContext({ lifetime: ContextLifetime.EXPLICIT })
      return daemon.client.inContext(context)
    }
    const [first, second] = [await open(), await open()]
    const result = await verifyRecording(recording, machine, first, second, () => {})
    // However the recording left them, its contexts end, and with them what they had bound.
    for (const { token } of [first, second]) await daemon.client.closeContext({ context: token })
    const { devices } = await (await open()).listDevices()
    if (devices.some(({ bound }) => bound)) throw new Error(`${recording.file}: devices are bound by nobody`)
    return result
  } finally {
    await daemon.stop()
    rmSync(folder, { recursive: true })
  }
}

/** Plays a recording up to a call whose answer is changed. */
export function playChanged(
  recording: Recording,
  last: number,
  change: (line: RecordedCall) => Partial<RecordedCall>,
): Promise<TranscriptResult> {
  const calls = recording.calls.slice(0, last + 1)
  calls[last] = { ...calls[last], ...change(calls[last]) }
  return play({ ...recording, calls }, machineOf(recording))
}
