/** Writes `docs/errors.md` from the contract, the table of errnos and the refusals of the source; a test compares. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ERRNO, type ErrnoName } from '../server/core/errno.js'
import { CODE_OF_ERRNO } from '../server/rpc/status.js'
import { refusalsIn, type SourceRefusal } from './refusals.js'

/** Where refusals are made. */
const FOLDERS = ['server/core', 'server/uapi', 'server/drivers', 'server/rpc', 'server/transports']

/** The document. */
export function errorsText(root: string): string {
  const refusals = refusalsIn(root, FOLDERS)
  return [
    '# Errors',
    '',
    'Written by `npm run generate` from the source; a test keeps both equal. Every refusal is an errno, a sentence and',
    'facts, on every transport alike: `RefusalDetail {errno, name, reason, context}`. What a sentence takes from its',
    'place is shown here as ‹its name›.',
    '',
    '## Errnos',
    '',
    'An errno means the same in every call. Numbers are those of Linux on x86-64 and arm64.',
    '',
    '| errno | number | meaning | RPC status | places |',
    '|---|---|---|---|---|',
    ...errnoRows(readFileSync(resolve(root, 'server/core/errno.ts'), 'utf8'), refusals),
    '',
    '## Calls',
    '',
    'The errnos of each method, from the contract. Beside them every method with a context may answer EBADF (the context’s',
    'token), those that make something EDQUOT (a limit) and all of them EINVAL for a message that cannot be read.',
    '',
    '| method | stands for | errnos |',
    '|---|---|---|',
    ...methodRows(resolve(root, 'proto/iommud/v1')),
    '',
    '## Reasons',
    '',
    'Every sentence, by the part of the daemon that says it.',
    ...[...Map.groupBy(refusals, ({ file }) => file)].flatMap(([file, its]) => section(root, file, its)),
    '',
  ].join('\n')
}

function errnoRows(source: string, refusals: readonly SourceRefusal[]): readonly string[] {
  return (Object.keys(ERRNO) as ErrnoName[]).map((name) => {
    const meaning = new RegExp(`/\\*\\* (.*) \\*/\\n  ${name}:`).exec(source)?.[1] ?? ''
    const places = refusals.filter(({ errnos }) => errnos.includes(name)).length
    return `| ${name} | ${ERRNO[name]} | ${meaning} | ${CODE_OF_ERRNO[name]} | ${places} |`
  })
}

/** One row for each method whose comment tells of errnos. */
function methodRows(folder: string): readonly string[] {
  const files = readdirSync(folder).filter((name) => name.endsWith('.proto'))
  return files.sort().flatMap((name) => {
    const text = readFileSync(resolve(folder, name), 'utf8')
    return [...text.matchAll(/((?: *\/\/.*\n)+) *rpc (\w+)\([^{]*\{([^}]*)\}/g)].map(([, comment, method, options]) => {
      const told = comment.replaceAll(/\s*\/\/ ?/g, ' ').trim()
      const errnos = /(?:Errnos?|Never refused).*$/.exec(told)?.[0] ?? ''
      const uapi = /\.uapi\) = "([^"]*)"/.exec(options)?.[1] ?? ''
      return `| \`${method}\` | ${uapi} | ${errnos.replace(/^Errnos?[^:]*: /, '').replaceAll('|', '\\|')} |`
    })
  })
}

function section(root: string, file: string, refusals: readonly SourceRefusal[]): readonly string[] {
  const lines = refusals.flatMap(({ errnos, reasons }) => reasons.map((reason) => `- ${errnos.join(', ')}: ${reason}`))
  return ['', `### ${titleOf(readFileSync(resolve(root, file), 'utf8'))}`, '', `\`${file}\``, '', ...new Set(lines)]
}

/** The first sentence of what a file says of itself. */
function titleOf(text: string): string {
  const comment = /^\/\*\*(.*?)\*\//s.exec(text)?.[1] ?? ''
  const told = comment.replaceAll(/\n \* ?/g, ' ').trim()
  return (/^.*?[.:](?= |$)/.exec(told)?.[0] ?? told).replace(/[.:]$/, '')
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const root = resolve(import.meta.dirname, '../..')
  writeFileSync(resolve(root, 'docs/errors.md'), errorsText(root))
}
