/** A daemon that has a recorded machine, and whose caller may do what the recorder, which was root, could. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Client, connect } from '../../node/index.js'
import { type Daemon, startDaemon } from '../../node/testing.js'
import type { RecordedMachine } from './machine.js'

/** Starts the daemon, works with it as its administrator, and leaves nothing behind. */
export async function onMachine<T>(machine: RecordedMachine, work: (client: Client) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'iommuctl-transcript-'))
  try {
    const admin = join(folder, 'admin.sock')
    const start = (platform: object): Promise<Daemon> => {
      const file = join(folder, 'platform.json')
      writeFileSync(file, JSON.stringify(platform))
      return startDaemon({ args: ['--platform', file, '--admin', admin, ...machine.args] })
    }
    const { platform, plain } = machine
    const daemon = await start(platform).catch((error: unknown) => {
      if (plain === undefined) throw error
      return start(plain)
    })
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
