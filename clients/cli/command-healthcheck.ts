/** `iommuctl healthcheck`: is the daemon there and answering? For a container's HEALTHCHECK, so it needs nothing. */

import { Command } from 'commander'
import type { SetExit } from './command-verb.js'
import { EXIT } from './failure.js'
import { printable } from './format.js'
import { type Globals, targetOf, timeoutOf, withClient } from './globals.js'
import type { Io } from './io.js'
import { UsageError } from './values.js'

/** How long a healthy daemon may take, milliseconds; a container engine's own patience is 30 s. */
const PATIENCE_MS = 5_000

/** The command. It exits with 0 or 1, as container engines want it. */
export function healthcheckCommand(io: Io, setExit: SetExit): Command {
  const command = new Command('healthcheck')
    .description(
      `Asks the daemon for its GetServerInfo: exit status 0 if it answers (within ${PATIENCE_MS} ms), else 1.`,
    )
    .helpGroup('Tools')
  command.action(async () => setExit(await healthcheck(command.optsWithGlobals<Globals>(), io)))
  return command
}

async function healthcheck(globals: Globals, io: Io): Promise<number> {
  try {
    const target = targetOf(globals, io)
    const timeoutMs = timeoutOf(globals) ?? PATIENCE_MS
    const info = await withClient(target, io, (client) =>
      // The deadline is kept here too: a daemon that hangs cannot keep one.
      within(timeoutMs, client.getServerInfo({}, { timeoutMs })),
    )
    const { version, bootId } = info
    const uptimeMs = String(info.uptimeMs)
    if (globals.json === true) io.out(JSON.stringify({ healthy: true, version, bootId, uptimeMs }))
    else io.out(printable(`healthy: iommud ${version}, boot ${bootId}, up ${uptimeMs} ms`))
    return EXIT.DONE
  } catch (error) {
    if (error instanceof UsageError) {
      io.err(`healthcheck: ${error.message}`)
      return EXIT.USAGE
    }
    const reason = error instanceof Error ? error.message : String(error)
    if (globals.json === true) io.out(JSON.stringify({ healthy: false, reason }))
    else io.out(printable(`not healthy: ${reason}`))
    return EXIT.REFUSED
  }
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
