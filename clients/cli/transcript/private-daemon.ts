/** A daemon that has a recorded machine, and whose caller may do what the recorder, which was root, could. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Client, connect } from '../../node/index.js'
import { startDaemon } from '../../node/testing.js'
import type { RecordedMachine } from './machine.js'

/** Starts the daemon, works with it as its administrator, and leaves nothing behind. */
export async function onMachine<T>(machine: RecordedMachine, work: (client: Client) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'iommuctl-transcript-'))
  try {
    const platform = join(folder, 'platform.json')
    writeFileSync(platform, JSON.stringify(machine.platform))
    const admin = join(folder, 'admin.sock')
    const daemon = await startDaemon({ args: ['--platform', platform, '--admin', admin, ...machine.args] })
    const client = connect({ socketPath: admin })
    try {
      return await work(client)
    } finally {
      client.close()
      await daemon.stop()
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
