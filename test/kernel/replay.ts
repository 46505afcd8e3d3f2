/** Recordings of the fixtures, played by `transcript verify`'s own code to a daemon of their own. */

import { join } from 'node:path'
import { machineOf } from '../../clients/cli/transcript/machine.js'
import { onMachine } from '../../clients/cli/transcript/private-daemon.js'
import { loadRecording, type Recording } from '../../clients/cli/transcript/recording.js'
import { type TranscriptResult, verifyRecording } from '../../clients/cli/transcript/verify.js'
import { ContextLifetime } from '../../clients/node/index.js'

const FOLDER = join(import.meta.dirname, '../fixtures/transcripts')

/** A recording of the fixtures. */
export const recordingOf = (name: string): Recording => loadRecording(join(FOLDER, `${name}.jsonl.gz`))

/** Plays a recording on its machine, or on another one. */
export const play = (recording: Recording, machine = machineOf(recording)): Promise<TranscriptResult> =>
  onMachine(machine, async (client) => {
    const open = async () => {
      const { context } = await client.openContext({ lifetime: ContextLifetime.EXPLICIT })
      return client.inContext(context)
    }
    const [first, second] = [await open(), await open()]
    const result = await verifyRecording(recording, machine, first, second, () => {})
    // However the recording left them, its contexts end, and with them what they had bound.
    for (const { token } of [first, second]) await client.closeContext({ context: token })
    const { devices } = await (await open()).listDevices()
    if (devices.some(({ bound }) => bound)) throw new Error(`${recording.file}: devices are bound by nobody`)
    return result
  })
