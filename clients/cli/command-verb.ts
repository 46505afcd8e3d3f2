/** One command per method of the contract, made from its schema. */

import { Command, Option } from 'commander'
import { encodeJson, fieldsOf } from '../../proto/codec.js'
import { METHODS, type Method, type MethodName } from '../../proto/generated/methods.js'
import { ContextLifetime } from '../../proto/generated/types.js'
import { EXIT, reportFailure } from './failure.js'
import {
  checkRequest,
  type FieldOption,
  type Given,
  helpOf,
  optionsOf,
  placeholderOf,
  requestOf,
  wholeRequest,
} from './fields.js'
import type { Message } from './format.js'
import { type Globals, targetOf, timeoutOf, tokenOf, withClient } from './globals.js'
import type { Io } from './io.js'
import type { Fields } from './json-request.js'
import { verbOf } from './names.js'
import { renderReply } from './render.js'
import { renderDirtyPages } from './render-bitmap.js'
import { UsageError } from './values.js'

/** Short words for what is typed most. */
const ALIASES: Readonly<Record<string, string>> = {
  OpenContext: 'open',
  CloseContext: 'close',
  GetServerInfo: 'info',
}

/** What a command tells when it has ended. */
export type SetExit = (exit: number) => void

/** The command of a method. */
export function verbCommand(method: Method, io: Io, setExit: SetExit): Command {
  const verb = verbOf(method.name)
  const options = optionsOf(method.request)
  const command = commandFor(method, options)
  command.action(async () => {
    const globals = command.optsWithGlobals<Globals>()
    setExit(await runVerb(verb, method, globals, io, () => readRequest(method, options, command, io)))
  })
  return command
}

/** A method's command with its options, and nothing to do yet. */
export function commandFor(method: Method, options: readonly FieldOption[]): Command {
  const command = new Command(verbOf(method.name))
    .summary(firstSentence(method.doc))
    .description(descriptionOf(method))
    .helpGroup(method.service)
  if (ALIASES[method.name] !== undefined) command.alias(ALIASES[method.name])
  for (const option of options) addFieldOption(command, option)
  if (options.length > 0) {
    command.addOption(repeatable(new Option('--request <json|@file|->', 'the whole request as JSON instead')))
  }
  return command
}

function addFieldOption(command: Command, option: FieldOption): void {
  command.addOption(repeatable(new Option(`--${option.option} ${placeholderOf(option)}`, helpOf(option))))
}

/** Collects each use of an option; how many are allowed is the field's to say. */
const repeatable = (option: Option): Option =>
  option.preset('true').argParser((word: string, before: readonly string[] | undefined) => [...(before ?? []), word])

/** What was given to a command's own options. */
export function givenOf(command: Command, options: readonly FieldOption[]): Given {
  const values = command.opts<Record<string, readonly string[]>>()
  const given = new Map<string, readonly string[]>()
  for (const { option } of options) {
    const name = new Option(`--${option}`).attributeName()
    if (values[name] !== undefined) given.set(option, values[name])
  }
  return given
}

/** The request that a command line describes, without its token. @throws UsageError */
export async function readRequest(
  method: Method,
  options: readonly FieldOption[],
  command: Command,
  io: Io,
): Promise<Fields> {
  const given = givenOf(command, options)
  const whole = command.opts<{ request?: readonly string[] }>().request
  if (whole === undefined) return requestOf(options, given, io)
  if (whole.length > 1) throw new UsageError('--request: given twice')
  if (given.size > 0) throw new UsageError(`give either --request or --${[...given.keys()][0]}`)
  return wholeRequest(method.request, whole[0], io)
}

/** Sends a request and prints what came back. */
export async function runVerb(
  verb: string,
  method: Method,
  globals: Globals,
  io: Io,
  read: () => Promise<Fields>,
  render: (method: Method, reply: Message, request: Fields) => readonly string[] = linesOf,
): Promise<number> {
  const json = globals.json === true
  try {
    const request = complete(method, await read(), globals, io)
    checkRequest(method.request, request)
    const timeoutMs = timeoutOf(globals)
    const reply = await withClient(targetOf(globals, io), io, (client) =>
      client.call(method.name as MethodName, request as never, timeoutMs === undefined ? {} : { timeoutMs }),
    )
    if (json) io.out(encodeJson(method.reply, reply as never))
    else for (const line of render(method, reply as unknown as Message, request)) io.out(line)
    return isRefused(method, reply as unknown as Message) ? EXIT.REFUSED : EXIT.DONE
  } catch (error) {
    return reportFailure(verb, error, json, io, method.reply)
  }
}

/** Fills in what the command line leaves to us: the token, and a lifetime that outlives this process. */
function complete(method: Method, request: Fields, globals: Globals, io: Io): Fields {
  if (method.name === METHODS.OpenContext.name) return { lifetime: ContextLifetime.EXPLICIT, ...request }
  const acts = fieldsOf(method.request).some(({ name }) => name === 'context')
  return acts && request['context'] === undefined ? { ...request, context: tokenOf(globals, io) } : request
}

/** An ioctl that fails is answered, as the kernel does: with its errno. A script is to see it as any other refusal. */
const isRefused = (method: Method, reply: Message): boolean =>
  method.name === METHODS.Ioctl.name && reply['errno'] !== 0

function linesOf(method: Method, reply: Message, request: Fields): string[] {
  // So that `export IOMMUD_CONTEXT=$(iommuctl open)` works.
  if (method.name === METHODS.OpenContext.name) return [String(reply['context'])]
  const lines = renderReply(method.reply, reply, request)
  return method.name === METHODS.GetDirtyBitmap.name ? [...lines, renderDirtyPages(request, reply)] : lines
}

const firstSentence = (doc: string): string => {
  const text = doc.replaceAll('\n', ' ')
  return /^.*?\.(?= [A-Z]|$)/.exec(text)?.[0] ?? text
}

function descriptionOf(method: Method): string {
  const kinds = [
    method.extension ? 'An extension: refused by `iommud --strict`.' : '',
    method.uapi === '' || method.doc.includes(method.uapi) ? '' : `Stands for ${method.uapi}.`,
  ]
  return [method.doc.replaceAll('\n', ' '), ...kinds].filter((part) => part !== '').join('\n\n')
}
