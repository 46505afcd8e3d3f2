/** The unit that tools about caches are about, and who asks: a context, or the administrator, who needs none. */

import { Command } from 'commander'
import type { ContextClient, OracleUnit } from '../node/index.js'
import type { SetExit } from './command-verb.js'
import { reportFailure } from './failure.js'
import { type Globals, targetOf, withClient } from './globals.js'
import type { Io } from './io.js'
import { namesOf, valueOfName } from './names.js'
import { UsageError } from './values.js'

/** A tool of one unit, `iommuctl GROUP NAME`. */
export interface UnitTool {
  readonly name: string
  readonly description: string
  /** Adds options of its own. */
  readonly options?: (command: Command) => void
  /** @returns the exit status */
  readonly run: (client: ContextClient, unit: OracleUnit, tool: ToolRun) => Promise<number>
}

/** What a tool is given. */
export interface ToolRun {
  readonly io: Io
  readonly isJson: boolean
  readonly options: Readonly<Record<string, string | boolean | undefined>>
  readonly words: readonly string[]
}

/** Makes the tools of a group. */
export function unitTools(group: string, description: string, tools: readonly UnitTool[], io: Io, setExit: SetExit) {
  const command = new Command(group).description(description).helpGroup('Tools')
  for (const tool of tools) command.addCommand(toolCommand(group, tool, io, setExit))
  return command
}

function toolCommand(group: string, tool: UnitTool, io: Io, setExit: SetExit): Command {
  const command = new Command(tool.name)
    .description(tool.description)
    .option('--unit <name>', 'a unit of the platform, such as smmu0')
    .option('--unit-id <id>', 'a raw unit of the context')
  tool.options?.(command)
  command.action(async (...given: unknown[]) => {
    const globals = command.optsWithGlobals<Globals>()
    const isJson = globals.json === true
    try {
      const options = command.opts<ToolRun['options']>()
      const words = given.filter((word) => typeof word === 'string')
      const unit = unitOf(options)
      // The admin socket asks for no context.
      const token = globals.context ?? io.environment['IOMMUD_CONTEXT'] ?? ''
      const work = (client: ContextClient): Promise<number> => tool.run(client, unit, { io, isJson, options, words })
      setExit(await withClient(targetOf(globals, io), io, (client) => work(client.inContext(token))))
    } catch (error) {
      setExit(reportFailure(`${group} ${tool.name}`, error, isJson, io))
    }
  })
  return command
}

/** A value of an enum that a tool is given by its name. @throws UsageError for what is `no ${what}` */
export function namedValue(enumName: string, what: string, given: string): number {
  const value = valueOfName(enumName, given)
  if (value !== undefined && value !== 0) return value
  throw new UsageError(`'${given}' is no ${what}: ${namesOf(enumName).join(', ').toLowerCase()}`)
}

function unitOf({ unit, unitId }: ToolRun['options']): OracleUnit {
  if ((unit === undefined) === (unitId === undefined)) {
    throw new UsageError('--unit names a unit of the platform, or --unit-id a raw unit')
  }
  if (typeof unit === 'string') return { unitName: unit }
  const id = Number(unitId)
  if (!Number.isInteger(id) || id < 1) throw new UsageError(`--unit-id: '${unitId}' is no id`)
  return { unitId: id }
}

/** A number of an option. @throws UsageError */
export function numberOf(name: string, given: string | boolean | undefined, usual: number): number {
  if (given === undefined) return usual
  const value = Number(given)
  if (!Number.isInteger(value) || value < 0 || value > 2 ** 32 - 1)
    throw new UsageError(`--${name}: '${given}' is no number`)
  return value
}
