/** Keeps the house rules: who may import whom, which library has which door, how long a file may be. */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = resolve(import.meta.dirname, '..')
const FOLDERS = ['hw-model', 'server', 'clients', 'proto', 'test', 'bench', 'tools']

interface Source {
  readonly file: string
  readonly text: string
  readonly lines: number
  readonly imports: readonly string[]
}

const sources: readonly Source[] = FOLDERS.flatMap((folder) => [...walk(join(ROOT, folder))])
  .filter((path) => path.endsWith('.ts'))
  .map((path) => {
    const text = readFileSync(path, 'utf8')
    return { file: relative(ROOT, path), text, lines: text.split('\n').length - 1, imports: importsOf(path, text) }
  })

/** What each layer may import of ours, first match decides. A layer may always import itself. */
const LAYERS: readonly { readonly of: RegExp; readonly may: readonly RegExp[] }[] = [
  { of: /^hw-model\/(smmuv3|vtd)\//, may: [/^hw-model\/(oracle|walk|cache|memory|bits)\//, /^hw-model\/port\.js$/] },
  { of: /^hw-model\/(oracle|walk|cache)\//, may: [/^hw-model\/(memory|bits)\//, /^hw-model\/port\.js$/] },
  { of: /^hw-model\/(memory|bits)\//, may: [] },
  { of: /^hw-model\//, may: [/^hw-model\//] },
  { of: /^server\/core\//, may: [] },
  { of: /^server\/drivers\//, may: [/^server\/core\/(driver|machine)\.js$/, /^hw-model\//] },
  { of: /^server\/uapi\//, may: [/^server\/core\//] },
  { of: /^server\/rpc\//, may: [/^server\/(core|uapi)\//, /^proto\//] },
  { of: /^server\/transports\//, may: [/^server\/rpc\//, /^proto\//] },
  {
    of: /^server\/ops\//,
    may: [/^server\/core\//, /^server\/drivers\/(machine|platform)\.js$/, /^server\/rpc\//, /^proto\//],
  },
  { of: /^server\/[^/]+\.ts$/, may: [/^server\//, /^proto\//] },
  { of: /^proto\//, may: [] },
  { of: /^clients\/node\//, may: [/^proto\//] },
  { of: /^clients\//, may: [/^proto\//, /^clients\//] },
  { of: /^tools\//, may: [/^proto\//, /^server\//, /^clients\//] },
  {
    of: /^test\/golden\//,
    may: [
      /^hw-model\/bits\//,
      /^hw-model\/(smmuv3|vtd)\/((command-|event-|pri-|hpt-)?records|registers|descriptors)\.js$/,
    ],
  },
  { of: /^test\/simulation\/reference\//, may: [] },
]

/** The one place that may import each library. */
const DOORS: Readonly<Record<string, RegExp>> = {
  fastify: /^server\/transports\/http\.ts$/,
  protobufjs: /^proto\/codec(-[a-z]+)?\.ts$|^tools\//,
  pino: /^server\/ops\/log\.ts$/,
  'prom-client': /^server\/ops\/metrics\.ts$/,
  koffi: /^server\/ops\//,
  commander: /^server\/ops\/config[a-z-]*\.ts$|^clients\/cli\//,
  yaml: /^server\/ops\/|^clients\/cli\//,
  ajv: /^server\/ops\//,
}

describe('imports', () => {
  it('run one way between the layers', () => {
    const wrong = sources.flatMap(({ file, imports }) => {
      const layer = LAYERS.find(({ of }) => of.test(file))
      if (layer === undefined) return []
      const ours = imports.filter((path) => FOLDERS.some((folder) => path.startsWith(`${folder}/`)))
      return ours
        .filter(
          (path) => dirOf(path) !== dirOf(file) && !within(path, file) && !layer.may.some((rule) => rule.test(path)),
        )
        .map((path) => `${file} imports ${path}`)
    })
    expect(wrong).toEqual([])
  })

  it('reach each library through its one door', () => {
    const wrong = sources
      .filter(({ file }) => !file.startsWith('test/') && !file.startsWith('bench/'))
      .flatMap(({ file, imports }) =>
        imports
          .map((path) => Object.keys(DOORS).find((library) => path === library || path.startsWith(`${library}/`)))
          .filter((library) => library !== undefined && !DOORS[library].test(file))
          .map((library) => `${file} imports ${library}`),
      )
    expect(wrong).toEqual([])
  })

  it('bring no Node into the hardware, the core and the drivers', () => {
    const wrong = sources
      .filter(({ file }) => /^(hw-model|server\/(core|drivers|uapi))\//.test(file))
      .flatMap(({ file, imports }) => imports.filter((path) => !isOurs(path)).map((path) => `${file} imports ${path}`))
    expect(wrong).toEqual([])
  })
})

describe('files', () => {
  it('are at most 400 lines long', () => {
    const long = sources.filter(({ file, lines }) => lines > 400 && !file.includes('/generated/'))
    expect(long.map(({ file, lines }) => `${file}: ${lines}`)).toEqual([])
  })

  it('of the hardware know no BigInt, no clock and no chance', () => {
    const wrong = sources
      .filter(({ file }) => file.startsWith('hw-model/'))
      .filter(({ text }) => /\bBigInt\b|\bBig(Int|Uint)64Array\b|\b\d+n\b|\bDate\b|Math\.random/.test(code(text)))
    expect(wrong.map(({ file }) => file)).toEqual([])
  })

  it('leave nothing out and nothing open', () => {
    const open = /\b(TODO|FIXME|XXX)\b|\.(skip|only|todo)\(/
    const wrong = sources.filter(({ file, text }) => file !== 'test/tidy.test.ts' && open.test(text))
    expect(wrong.map(({ file }) => file)).toEqual([])
  })

  it('have a doc comment on every export of the hardware and the server', () => {
    const bare = sources
      .filter(({ file }) => /^(hw-model|server|clients|proto)\//.test(file) && !file.includes('/generated/'))
      .flatMap(({ file, text }) => undocumented(text).map((line) => `${file}: ${line}`))
    expect(bare).toEqual([])
  })
})

/** Exported declarations whose line before is not the end of a comment. Re-exports need none. */
function undocumented(text: string): string[] {
  const lines = text.split('\n')
  return lines.filter((line, i) => {
    if (!/^export (abstract |async )?(class|function|const|interface|type) [A-Za-z]/.test(line)) return false
    const before = lines[i - 1] ?? ''
    return !before.trimEnd().endsWith('*/') && !before.startsWith('//') && !/^export type \{/.test(line)
  })
}

function* walk(folder: string): Generator<string> {
  let names: string[]
  try {
    names = readdirSync(folder)
  } catch {
    return
  }
  for (const name of names) {
    const path = join(folder, name)
    if (statSync(path).isDirectory()) {
      if (name !== 'fixtures' && name !== 'node_modules' && name !== 'dist') yield* walk(path)
    } else yield path
  }
}

/** Imports of a file: ours as paths from the root, others as they are. */
function importsOf(path: string, text: string): string[] {
  const specifiers = [
    ...text.matchAll(/^(?:import|export)\b[^'"]*?from '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm),
  ]
  return specifiers.map((match) => {
    const specifier = match[1] ?? match[2] ?? match[3]
    return specifier.startsWith('.') ? relative(ROOT, resolve(dirname(path), specifier)) : specifier
  })
}

const isOurs = (path: string): boolean => FOLDERS.some((folder) => path.startsWith(`${folder}/`))

const dirOf = (path: string): string => dirname(path)

/** Whether both stand in the same layer, such as `server/drivers/smmuv3` and `server/drivers`. */
function within(path: string, file: string): boolean {
  const layer = file.match(/^(hw-model\/[^/]+|server\/[^/]+|clients\/[^/]+|[^/]+)\//)?.[1]
  return layer !== undefined && path.startsWith(`${layer}/`)
}

/** A file's text without its comments and strings. */
const code = (text: string): string => text.replace(/\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:[^'\\]|\\.)*'/g, '')
