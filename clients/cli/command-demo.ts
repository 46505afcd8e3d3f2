/** `iommuctl demo`: the main job, on two captured guests. */

import { Command } from 'commander'
import type { SetExit } from './command-verb.js'
import { reportFailure } from './failure.js'
import type { Globals } from './globals.js'
import type { Io } from './io.js'

/** The command. */
export function demoCommand(io: Io, setExit: SetExit): Command {
  const command = new Command('demo')
    .description('Starts a private daemon and translates what two real guests translated. Ends by itself.')
    .helpGroup('Tools')
  command.action(async () => {
    const json = command.optsWithGlobals<Globals>().json === true
    try {
      const { runDemo } = await import('./demo.js')
      setExit(await runDemo({ json, print: (line) => io.out(line) }))
    } catch (error) {
      setExit(reportFailure('demo', error, json, io))
    }
  })
  return command
}
