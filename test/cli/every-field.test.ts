/** Every option of every verb reaches its field, and every verb prints what came back. */

import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { optionsOf } from '../../clients/cli/fields.js'
import { flagsOf } from '../../clients/cli/flag-fields.js'
import { verbOf } from '../../clients/cli/names.js'
import { enumValues, type FieldInfo, fieldsOf, MESSAGE_NAMES } from '../../proto/codec.js'
import { METHODS, type Method } from '../../proto/generated/methods.js'
import { runIn, TOKEN } from './fake.js'

const methods = Object.values(METHODS) as readonly Method[]

/** Words for a field of each kind, and what must arrive. */
function sampleOf(field: FieldInfo, message: string): { word: string; value: unknown } {
  if (field.kind === 'message') return { word: field.repeated ? '[{},{}]' : '{}', value: undefined }
  const flags = flagsOf(message, field)
  if (flags !== undefined) {
    const [name, bit] = Object.entries(enumValues(flags)).at(-1) as [string, number]
    return { word: name, value: field.kind === 'uint64' ? BigInt(bit) : bit }
  }
  if (field.kind === 'enum') {
    const [name, value] = Object.entries(enumValues(field.typeName ?? '')).at(-1) as [string, number]
    return { word: name.toLowerCase().replaceAll('_', '-'), value }
  }
  const samples: Readonly<Record<string, { word: string; value: unknown }>> = {
    string: { word: 'some text', value: 'some text' },
    bytes: { word: '0x00ff7f', value: Uint8Array.of(0, 255, 127) },
    bool: { word: 'true', value: true },
    uint32: { word: '4294967295', value: 4294967295 },
    fixed32: { word: '0xffffffff', value: 4294967295 },
    uint64: { word: '9007199254740993', value: 9007199254740993n },
    fixed64: { word: '0xffffffffffffffff', value: 18446744073709551615n },
  }
  return samples[field.kind]
}

const at = (message: unknown, path: readonly string[]): unknown =>
  path.reduce((inner, name) => (inner as Record<string, unknown> | undefined)?.[name], message)

describe('every option of', () => {
  it.each(methods.map((method) => [verbOf(method.name), method] as const))(
    '%s reaches its field',
    async (verb, method) => {
      for (const { option, path, message, field } of optionsOf(method.request)) {
        const { word, value } = sampleOf(field, message)
        const repeated = field.repeated && field.kind !== 'message'
        const target = verb === 'explain' ? ['--iova', '1', '--device-id', '1'] : []
        const words = [verb, ...target.filter((_, i) => target[i - (i % 2)] !== `--${option}`), `--${option}`, word]
        if (repeated) words.push(`--${option}=${word},${word}`)
        const { exit, err, sent } = await runIn({}, ...words)
        expect({ option, exit, err }).toEqual({ option, exit: 0, err: [] })
        const arrived = at(sent[0].request, path)
        if (repeated) expect(Array.from(arrived as Iterable<unknown>), option).toEqual([value, value, value])
        else if (field.kind === 'message' && field.repeated) expect(arrived, option).toHaveLength(2)
        else if (field.kind === 'message') expect(arrived, option).toBeDefined()
        else expect(arrived, option).toEqual(value)
      }
    },
  )
})

describe('every verb', () => {
  it.each(methods.map((method) => [verbOf(method.name), method] as const))(
    '%s sends the token and prints one line of JSON',
    async (verb, method) => {
      const words = verb === 'explain' ? ['--iova', '1', '--device-id', '1'] : []
      const { exit, out, err, sent, closed } = await runIn({}, verb, ...words, '--json')
      expect({ exit, out, err, closed }).toEqual({ exit: 0, out: ['{}'], err: [], closed: 1 })
      expect(sent.map((call) => call.method)).toEqual([method.name])
      const acts = fieldsOf(method.request).some(({ name }) => name === 'context')
      expect(sent[0].request['context']).toBe(acts ? TOKEN : undefined)
    },
  )

  it.each(methods.map((method) => [verbOf(method.name)] as const))('%s prints something for people', async (verb) => {
    const words = verb === 'explain' ? ['--iova', '1', '--device-id', '1'] : []
    const { exit, out, err } = await runIn({}, verb, ...words)
    expect({ exit, err }).toEqual({ exit: 0, err: [] })
    expect(out.length).toBeGreaterThan(0)
  })

  it('has options that no global option hides', () => {
    const globals = ['socket', 'tcp', 'token-file', 'context', 'json', 'timeout', 'help', 'request']
    const hidden = methods.flatMap(({ request }) => optionsOf(request).filter(({ option }) => globals.includes(option)))
    expect(hidden).toEqual([])
    expect(methods.flatMap(({ request }) => optionsOf(request)).filter(({ option }) => /^no-/.test(option))).toEqual([])
  })
})

describe('flags by name', () => {
  it('are known for every field whose comment in the contract says so', () => {
    const wrong: string[] = []
    let said = 0
    for (const { message, field, flags } of commentedFlags()) {
      said++
      const info = fieldsOf(message as never).find(({ protoName }) => protoName === field)
      const known = info === undefined ? undefined : flagsOf(message, info)
      if (known !== flags) wrong.push(`${message}.${field}: ${known}, the contract says ${flags}`)
    }
    expect(wrong).toEqual([])
    expect(said).toBeGreaterThanOrEqual(30)
  })

  it('are known for no field whose comment does not', () => {
    const said = new Set([...commentedFlags()].map(({ message, field }) => `${message}.${field}`))
    const known = MESSAGE_NAMES.flatMap((message) =>
      fieldsOf(message)
        .filter((field) => flagsOf(message, field) !== undefined)
        .map(({ protoName }) => `${message}.${protoName}`),
    )
    expect(known.filter((name) => !said.has(name))).toEqual([])
  })
})

/** Fields whose comment in the .proto files speaks of "SomeFlag bits" or "SomeCapability bits". */
function* commentedFlags(): Generator<{ message: string; field: string; flags: string }> {
  const folder = resolve(import.meta.dirname, '../../proto/iommud/v1')
  for (const file of readdirSync(folder)) {
    let message = ''
    let comment = ''
    for (const line of readFileSync(join(folder, file), 'utf8').split('\n')) {
      message = /^message (\w+)/.exec(line)?.[1] ?? message
      if (/^\s*\/\//.test(line)) {
        comment += line
        continue
      }
      const field = /^\s+(?:optional |repeated )?u?int\d+ (\w+) = \d+;/.exec(line)?.[1]
      const flags = /(\w+(?:Flag|Capability)) bits/.exec(comment)?.[1]
      if (field !== undefined && flags !== undefined) yield { message, field, flags }
      comment = ''
    }
  }
}
