/**
 * What the codec knows of each message: its fields, how to complete what was decoded, and how to check what is encoded.
 * Compiled once from the generated schema.
 */

import { completer } from './codec-complete.js'
import { CodecError } from './codec-error.js'
import { notA, preparer } from './codec-prepare.js'
import type { MessageName } from './generated/types.js'

/** What a field holds, in protobuf's words. */
export type FieldKind =
  | 'string'
  | 'bytes'
  | 'bool'
  | 'int32'
  | 'uint32'
  | 'fixed32'
  | 'uint64'
  | 'fixed64'
  | 'sint64'
  | 'enum'
  | 'message'

/** One field of a message. */
export interface FieldInfo {
  /** Its name in TypeScript and JSON: "ioasId". */
  readonly name: string
  /** Its name in the .proto file: "ioas_id". */
  readonly protoName: string
  /** Its number. */
  readonly id: number
  /** What it, or each of its elements or values, holds. */
  readonly kind: FieldKind
  /** An array. */
  readonly repeated: boolean
  /** A map from strings. */
  readonly map: boolean
  /** Its absence is told apart from its default. */
  readonly presence: boolean
  /** The oneof it is a member of. */
  readonly oneof?: string
  /** The message or enum it is of. */
  readonly typeName?: string
}

/** A message compiled from the schema. */
export interface Plan {
  readonly name: MessageName
  readonly fields: readonly FieldInfo[]
  /** A plain object with every field, from what protobufjs decoded. */
  complete(message: object): object
  /** A plain object with the fields that are set and no default, checked, from what a caller gave. */
  prepare(value: unknown, where: string): object
}

interface MessageSchema {
  readonly oneofs?: { readonly [name: string]: { readonly oneof: readonly string[] } }
  readonly fields: {
    readonly [name: string]: {
      readonly type: string
      readonly id: number
      readonly rule?: string
      readonly keyType?: string
      readonly protoName?: string
      readonly options?: { readonly proto3_optional?: boolean }
    }
  }
}

interface EnumSchema {
  readonly values: { readonly [name: string]: number }
}

type Values = Record<string, unknown>

/** The plans of every message of a schema, by name. */
export function compilePlans(schema: { readonly [name: string]: object }): ReadonlyMap<string, Plan> {
  const plans = new Map<string, Plan>()
  const planOf = (name: string): Plan => plans.get(name)!
  for (const [name, each] of Object.entries(schema)) {
    if ('fields' in each) plans.set(name, compile(name as MessageName, each as MessageSchema, schema, planOf))
  }
  return plans
}

/** The names and numbers of an enum. */
export function enumValuesOf(
  schema: { readonly [name: string]: object },
  name: string,
): Readonly<Record<string, number>> {
  return (schema[name] as EnumSchema).values
}

function compile(
  name: MessageName,
  message: MessageSchema,
  schema: { readonly [name: string]: object },
  planOf: (name: string) => Plan,
): Plan {
  const fields = fieldsOf(message, schema)
  const completers = fields.map((field) => ({ name: field.name, complete: completer(field, planOf) }))
  const preparers = new Map(fields.map((field) => [field.name, { field, prepare: preparer(field, planOf) }]))

  return {
    name,
    fields,
    complete(decoded) {
      const out: Values = {}
      for (const field of completers) {
        out[field.name] = field.complete(
          Object.hasOwn(decoded, field.name) ? (decoded as Values)[field.name] : undefined,
        )
      }
      return out
    },
    prepare(value, where) {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) throw notA(where, 'an object', value)
      const out: Values = {}
      let chosen: Map<string, string> | undefined
      for (const key of Object.keys(value)) {
        const given = (value as Values)[key]
        if (given === undefined) continue
        const known = preparers.get(key)
        if (known === undefined) throw new CodecError(`${where}.${key}`, `${name} has no such field`)
        const { oneof } = known.field
        if (oneof !== undefined) {
          chosen ??= new Map()
          const other = chosen.get(oneof)
          if (other !== undefined) throw new CodecError(`${where}.${key}`, `\`${oneof}\` is set already, by ${other}`)
          chosen.set(oneof, key)
        }
        const prepared = known.prepare(given, `${where}.${key}`)
        if (prepared !== undefined) out[key] = prepared
      }
      return out
    },
  }
}

function fieldsOf(message: MessageSchema, schema: { readonly [name: string]: object }): FieldInfo[] {
  return Object.entries(message.fields).map(([name, field]) => {
    const oneof = Object.entries(message.oneofs ?? {}).find(([, { oneof: members }]) => members.includes(name))?.[0]
    const typeName = field.type.startsWith('.') ? field.type.slice(field.type.lastIndexOf('.') + 1) : undefined
    const kind = typeName === undefined ? field.type : 'values' in schema[typeName] ? 'enum' : 'message'
    const repeated = field.rule === 'repeated'
    const map = field.keyType !== undefined
    return {
      name,
      protoName: field.protoName ?? name,
      id: field.id,
      kind: kind as FieldKind,
      repeated,
      map,
      presence: oneof !== undefined || (kind === 'message' && !repeated && !map),
      ...(oneof !== undefined && field.options?.proto3_optional !== true && { oneof }),
      ...(typeName !== undefined && { typeName }),
    }
  })
}
