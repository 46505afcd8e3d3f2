/**
 * Fills docs/oracle.md with the examples as they stand in their files, and with what they print; `npm run generate` writes
 * it, a test compares.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { linesOf } from '../clients/examples/oracle/main.js'

/** The checkout: above the sources, or above what they are compiled to. */
const ABOVE = resolve(import.meta.dirname, '..')
const ROOT = ABOVE.endsWith('/dist') ? resolve(ABOVE, '..') : ABOVE

const MARK = /<!-- example ([a-z-]+) -->[\s\S]*?<!-- \/example -->/g

/** The function's body, without what every example has. */
function bodyOf(name: string): string {
  const text = readFileSync(resolve(ROOT, `clients/examples/oracle/${name}.ts`), 'utf8')
  const from = text.lastIndexOf('export async function')
  const body = text.slice(text.indexOf('\n', from) + 1, text.lastIndexOf('\n}'))
  return body.replaceAll(/^ {2}/gm, '')
}

/** The document with every example between its marks, and below it what it prints. */
export async function withExamples(doc: string): Promise<string> {
  let filled = doc
  for (const [whole, name] of doc.matchAll(MARK)) {
    const printed = (await linesOf(name)).join('\n')
    const code = `\`\`\`ts\n${bodyOf(name)}\n\`\`\`\n\n\`\`\`\n${printed}\n\`\`\``
    filled = filled.replace(whole, () => `<!-- example ${name} -->\n${code}\n<!-- /example -->`)
  }
  return filled
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const path = resolve(ROOT, 'docs/oracle.md')
  writeFileSync(path, await withExamples(readFileSync(path, 'utf8')))
}
