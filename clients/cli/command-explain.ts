/** `iommuctl explain`: one walk, of a bound device or of a raw unit's stream. */

import type { Command } from 'commander'
import { METHODS } from '../../proto/generated/methods.js'
import { commandFor, readRequest, runVerb, type SetExit } from './command-verb.js'
import { optionsOf } from './fields.js'
import type { Message } from './format.js'
import type { Globals } from './globals.js'
import type { Io } from './io.js'
import type { Fields } from './json-request.js'
import { renderExplanation } from './render-explanation.js'
import { UsageError } from './values.js'

/** The command: Explain, and ExplainUnit when a unit is named. */
export function explainCommand(io: Io, setExit: SetExit): Command {
  const ofDevice = optionsOf(METHODS.Explain.request)
  const ofUnit = optionsOf(METHODS.ExplainUnit.request)
  const known = new Set(ofDevice.map(({ option }) => option))
  const all = [...ofDevice, ...ofUnit.filter(({ option }) => !known.has(option))]
  const command = commandFor(METHODS.Explain, all).option('--all', 'show every entry of nested stage 2 walks')
  command.action(async () => {
    const unit = command.opts()['unitId'] !== undefined
    const method = unit ? METHODS.ExplainUnit : METHODS.Explain
    const read = async (): Promise<Fields> => {
      const request = await readRequest(method, all, command, io)
      if (command.opts()['request'] === undefined) checkTarget(request, unit)
      return request
    }
    const isWhole = command.opts()['all'] === true
    const render = (_: unknown, reply: Message): string[] =>
      renderExplanation(reply['explanation'] as Message | undefined, isWhole)
    setExit(await runVerb('explain', method, command.optsWithGlobals<Globals>(), io, read, render))
  })
  return command
}

function checkTarget(request: Fields, unit: boolean): void {
  if (unit && request['deviceId'] !== undefined) throw new UsageError('give either --device-id or --unit-id')
  if (!unit && request['deviceId'] === undefined) {
    throw new UsageError("--device-id names the device, or --unit-id and --source-id a raw unit's stream")
  }
  if (unit !== (request['sourceId'] !== undefined)) throw new UsageError('--unit-id and --source-id go together')
  if (request['iova'] === undefined) throw new UsageError('--iova is what shall be explained')
}
