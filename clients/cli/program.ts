/** `iommuctl`: all its commands, and one run of it. */

import { Command, CommanderError } from 'commander'
import { METHODS, type Method } from '../../proto/generated/methods.js'
import { cacheCommand } from './command-cache.js'
import { captureCommand } from './command-capture.js'
import { demoCommand } from './command-demo.js'
import { explainCommand } from './command-explain.js'
import { healthcheckCommand } from './command-healthcheck.js'
import { oracleCommand } from './command-oracle.js'
import { transcriptCommand } from './command-transcript.js'
import { type SetExit, verbCommand } from './command-verb.js'
import { EXIT } from './failure.js'
import { addGlobals } from './globals.js'
import type { Io } from './io.js'

const DESCRIPTION =
  'The command-line client of iommud: one verb per method of the contract, and some tools.\n\n' +
  'Numbers are decimal or 0x-hex; flags are numbers or names joined with | or commas; fields of inner messages are ' +
  'reached by dots (--region.region-id 1); lists are repeated options or commas, lists of messages JSON or @FILE.'

const EXITS = `
Exit status:
  0  done
  1  the daemon refused, an ioctl failed, something did not verify, or is stale
  2  bad usage; nothing was sent
  3  the daemon was not reached, or went away`

/** The program. `setExit` is told what a command that ran came to. */
export function createProgram(io: Io, setExit: SetExit): Command {
  const program = addGlobals(new Command('iommuctl').description(DESCRIPTION)).addHelpText('after', EXITS)
  program.addCommand(cacheCommand(io, setExit))
  program.addCommand(captureCommand(io, setExit))
  program.addCommand(demoCommand(io, setExit))
  program.addCommand(healthcheckCommand(io, setExit))
  program.addCommand(oracleCommand(io, setExit))
  program.addCommand(transcriptCommand(io, setExit))
  for (const method of Object.values(METHODS) as readonly Method[]) {
    const explain = method.name === METHODS.Explain.name
    program.addCommand(explain ? explainCommand(io, setExit) : verbCommand(method, io, setExit))
  }
  everywhere(program, io)
  return program
}

/** No command writes to the process's streams or ends the process by itself. */
function everywhere(command: Command, io: Io): void {
  const withoutEnd = (text: string): string => text.replace(/\n$/, '')
  command.exitOverride()
  command.configureOutput({
    writeOut: (text) => io.out(withoutEnd(text)),
    writeErr: (text) => io.err(withoutEnd(text)),
  })
  for (const each of command.commands) everywhere(each, io)
}

/** Runs a command line and answers the exit status. */
export async function run(words: readonly string[], io: Io): Promise<number> {
  let exit: number = EXIT.DONE
  const program = createProgram(io, (status) => {
    exit = status
  })
  try {
    await program.parseAsync([...words], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    return error.exitCode === 0 ? EXIT.DONE : EXIT.USAGE
  }
  return exit
}
