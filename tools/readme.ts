/** Fills README's table of methods from the daemon's own table; `npm run generate` writes it, a test compares. */

import { readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { listMethods, METHOD_TABLE } from '../server/rpc/method-table.js'

const START = '<!-- methods -->'
const END = '<!-- /methods -->'

/** One service: what it answers, what part of that it does not, and what it answers with EOPNOTSUPP, by reason. */
interface Service {
  readonly offered: string[]
  readonly except: Map<string, string[]>
  readonly reasons: Map<string, string[]>
}

/** The table, in Markdown. */
export function methodsSection(): string {
  const services = new Map<string, Service>()
  for (const { service = '', method = '', offered, reason = '' } of listMethods(METHOD_TABLE, false)) {
    const name = service.replace('iommud.v1.', '')
    const entry: Service = services.get(name) ?? { offered: [], except: new Map(), reasons: new Map() }
    services.set(name, entry)
    if (offered === true) entry.offered.push(`\`${method}\``)
    if (reason === '') continue
    const why = offered === true ? entry.except : entry.reasons
    why.set(reason, [...(why.get(reason) ?? []), `\`${method}\``])
  }
  const rows = [...services].map(([name, { offered, except, reasons }]) => {
    return `| ${name} | ${offered.join(' ')} | ${because(except)} | ${because(reasons)} |`
  })
  const head = '| service | works | with this left out | answers EOPNOTSUPP, with this reason |'
  return [head, '|---|---|---|---|', ...rows].join('\n')
}

/** Methods by their reason, in one cell. */
const because = (reasons: ReadonlyMap<string, readonly string[]>): string =>
  [...reasons].map(([reason, methods]) => `${methods.join(' ')}: ${reason}`).join('<br>')

/** README with the table between its marks replaced. */
export function withMethods(readme: string): string {
  const from = readme.indexOf(START) + START.length
  return `${readme.slice(0, from)}\n${methodsSection()}\n${readme.slice(readme.indexOf(END))}`
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const path = resolve(import.meta.dirname, '../../README.md')
  writeFileSync(path, withMethods(readFileSync(path, 'utf8')))
}
