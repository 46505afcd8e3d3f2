/** `npm run generate`: compiles the contract and writes `proto/generated/`. The files are committed; a test compares. */

import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { callsText } from './generate-calls.js'
import { compileImage, ROOT } from './generate-image.js'
import { methodsText } from './generate-methods.js'
import { descriptorsText, schemaText } from './generate-schema.js'
import { typesText } from './generate-types.js'

/** Folder of the generated files. */
export const GENERATED = join(ROOT, 'proto', 'generated')

/** The generated files: name to text. */
export function generate(): ReadonlyMap<string, string> {
  const image = compileImage()
  return new Map([
    ['types.ts', typesText(image)],
    ['methods.ts', methodsText(image)],
    ['calls.ts', callsText(image)],
    ['schema.ts', schemaText(image)],
    ['descriptors.ts', descriptorsText(image)],
  ])
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const files = generate()
  mkdirSync(GENERATED, { recursive: true })
  for (const name of readdirSync(GENERATED)) if (!files.has(name)) rmSync(join(GENERATED, name))
  for (const [name, text] of files) writeFileSync(join(GENERATED, name), text)
  console.log(`proto/generated: ${[...files.keys()].join(', ')}`)
}
