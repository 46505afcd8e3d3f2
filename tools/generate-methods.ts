/** Writes `methods.ts`: the table of methods that servers, clients and tests go by. */

import { commentAt, type Image, localName, type MethodImage, PATH } from './generate-image.js'

const HEAD = `// Generated from proto/iommud/v1/*.proto by \`npm run generate\`. Do not edit.

import type { MessageName, Messages } from './types.js'

/** One method of the contract. */
export interface Method {
  /** Service without its package: "IommuService". */
  readonly service: string
  /** Name, unique in the whole contract: "IoasMap". */
  readonly name: string
  /** Message it takes. */
  readonly request: MessageName
  /** Message it answers. */
  readonly reply: MessageName
  /** Connect's path: "/iommud.v1.IommuService/IoasMap". */
  readonly path: string
  /** Only reads: GET may call it. */
  readonly noSideEffects: boolean
  /** Ours alone: \`--strict\` refuses it. */
  readonly extension: boolean
  /** What a machine has without asking iommufd. */
  readonly machine: boolean
  /** The ioctl or system call it stands for; "" if none. */
  readonly uapi: string
  /** Its comment in the contract. */
  readonly doc: string
}
`

const TAIL = `
/** Name of a method. */
export type MethodName = keyof typeof METHODS

/** What a method takes, decoded. */
export type RequestOf<M extends MethodName> = Messages[(typeof METHODS)[M]['request']]

/** What a method answers, decoded. */
export type ReplyOf<M extends MethodName> = Messages[(typeof METHODS)[M]['reply']]
`

/** The text of `methods.ts`. */
export function methodsText(image: Image): string {
  const seen = new Set<string>()
  const entries = image.files.flatMap((file) =>
    (file.service ?? []).flatMap((service, s) =>
      service.method.map((method, m) => {
        if (seen.has(method.name)) throw new Error(`two methods are called ${method.name}`)
        seen.add(method.name)
        return entryText(service.name, method, commentAt(file, [PATH.service, s, PATH.method, m]))
      }),
    ),
  )
  const table = `/** Every method by its name, in the order of the files. */
export const METHODS = {
${entries.join('')}} as const satisfies Readonly<Record<string, Method>>
`
  return `${HEAD}\n${table}${TAIL}`
}

function entryText(service: string, method: MethodImage, comment: readonly string[]): string {
  const { options = {} } = method
  const entry = {
    service,
    name: method.name,
    request: localName(method.inputType),
    reply: localName(method.outputType),
    path: `/iommud.v1.${service}/${method.name}`,
    noSideEffects: options.idempotencyLevel === 'NO_SIDE_EFFECTS',
    extension: options['[iommud.v1.extension]'] ?? false,
    machine: options['[iommud.v1.machine]'] ?? false,
    uapi: options['[iommud.v1.uapi]'] ?? '',
    doc: comment.join('\n'),
  }
  const lines = Object.entries(entry).map(([key, value]) => `    ${key}: ${JSON.stringify(value)},\n`)
  return `  ${method.name}: {\n${lines.join('')}  },\n`
}
