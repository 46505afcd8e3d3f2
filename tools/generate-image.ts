/** The contract as buf compiled it: what the generators read. The shapes are those of descriptor.proto in ProtoJSON. */

import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** A field of a message. */
export interface FieldImage {
  readonly name: string
  readonly number: number
  readonly label: 'LABEL_OPTIONAL' | 'LABEL_REPEATED'
  readonly type: string
  readonly typeName?: string
  readonly jsonName: string
  readonly oneofIndex?: number
  readonly proto3Optional?: boolean
}

/** A message. */
export interface MessageImage {
  readonly name: string
  readonly field?: readonly FieldImage[]
  readonly nestedType?: readonly (MessageImage & { readonly options?: { readonly mapEntry?: boolean } })[]
  readonly oneofDecl?: readonly { readonly name: string }[]
}

/** An enum. */
export interface EnumImage {
  readonly name: string
  readonly value: readonly { readonly name: string; readonly number: number }[]
}

/** A method with our three options. */
export interface MethodImage {
  readonly name: string
  readonly inputType: string
  readonly outputType: string
  readonly options?: {
    readonly idempotencyLevel?: string
    readonly '[iommud.v1.extension]'?: boolean
    readonly '[iommud.v1.machine]'?: boolean
    readonly '[iommud.v1.uapi]'?: string
  }
}

/** A service. */
export interface ServiceImage {
  readonly name: string
  readonly method: readonly MethodImage[]
}

/** A file, with the places of its comments. */
export interface FileImage {
  readonly name: string
  readonly package: string
  readonly messageType?: readonly MessageImage[]
  readonly enumType?: readonly EnumImage[]
  readonly service?: readonly ServiceImage[]
  readonly sourceCodeInfo: {
    readonly location: readonly { readonly path?: readonly number[]; readonly leadingComments?: string }[]
  }
}

/** The compiled contract. */
export interface Image {
  readonly files: readonly FileImage[]
  /** The same as a binary FileDescriptorSet without comments. */
  readonly binary: Uint8Array
}

/** Numbers of the lists in a FileDescriptorProto and below, as comment paths spell them. */
export const PATH = { message: 4, enum: 5, service: 6, field: 2, value: 2, method: 2 } as const

/** Folder of buf.yaml, above this file, in the sources as in `dist/`. */
export const ROOT = findRoot(import.meta.dirname)

/** Compiles the contract with buf. Files come in a stable order: by name. */
export function compileImage(): Image {
  const build = (...args: string[]): Buffer =>
    execFileSync(join(ROOT, 'node_modules', '.bin', 'buf'), ['build', '--as-file-descriptor-set', ...args], {
      cwd: ROOT,
      maxBuffer: 64 * 2 ** 20,
    })
  const set = JSON.parse(build('-o', '-#format=json').toString()) as { readonly file: readonly FileImage[] }
  const files = set.file.filter((file) => file.package === 'iommud.v1')
  return {
    files: [...files].sort((a, b) => (a.name < b.name ? -1 : 1)),
    binary: build('--exclude-source-info', '-o', '-#format=binpb'),
  }
}

/** The comment at a path, as lines without the leading blank; empty if there is none. */
export function commentAt(file: FileImage, path: readonly number[]): readonly string[] {
  const key = path.join()
  const found = file.sourceCodeInfo.location.find((location) => (location.path ?? []).join() === key)
  const text = found?.leadingComments ?? ''
  return text === ''
    ? []
    : text
        .trimEnd()
        .split('\n')
        .map((line) => line.replace(/^ /, '').trimEnd())
}

/** The last part of a type's name: ".iommud.v1.IoasMapRequest" is "IoasMapRequest". */
export function localName(typeName: string): string {
  const prefix = '.iommud.v1.'
  if (!typeName.startsWith(prefix)) throw new Error(`${typeName} is not of this contract`)
  return typeName.slice(prefix.length)
}

/** A map's key and value fields, if the field is a map. */
export function mapEntryOf(
  message: MessageImage,
  field: FieldImage,
): { key: FieldImage; value: FieldImage } | undefined {
  if (field.type !== 'TYPE_MESSAGE') return undefined
  const entry = message.nestedType?.find(
    (nested) => nested.options?.mapEntry === true && field.typeName === `.iommud.v1.${message.name}.${nested.name}`,
  )
  if (entry === undefined) return undefined
  const [key, value] = entry.field ?? []
  return { key, value }
}

function findRoot(from: string): string {
  if (existsSync(join(from, 'buf.yaml'))) return from
  const above = dirname(from)
  if (above === from) throw new Error('no buf.yaml above the generator')
  return findRoot(above)
}
