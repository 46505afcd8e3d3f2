/** Writes `calls.ts`: the methods as functions, each with its comment, for SDKs. */

import { commentAt, type Image, localName, PATH } from './generate-image.js'

/** The text of `calls.ts`. */
export function callsText(image: Image): string {
  const types = new Set<string>(['Init'])
  const functions = image.files.flatMap((file) =>
    (file.service ?? []).flatMap((service, s) =>
      service.method.map((method, m) => {
        const [request, reply] = [localName(method.inputType), localName(method.outputType)]
        types.add(request).add(reply)
        const name = method.name[0].toLowerCase() + method.name.slice(1)
        const comment = commentAt(file, [PATH.service, s, PATH.method, m]).map((line) => `   * ${line}\n`)
        const signature = `(request?: Init<${request}>, options?: Options): Promise<${reply}>`
        return `  /**\n${comment.join('')}   */\n  ${name}${signature}\n`
      }),
    ),
  )
  const imports = [...types].sort().map((type) => `  ${type},\n`)
  return `// Generated from proto/iommud/v1/*.proto by \`npm run generate\`. Do not edit.

import type {
${imports.join('')}} from './types.js'

/** Every method of the contract as a function. \`Options\` is what an SDK takes beside a request. */
export interface Calls<Options> {
${functions.join('\n')}}
`
}
