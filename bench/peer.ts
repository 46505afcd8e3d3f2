/**
 * Programs of others' kind to be measured against: sources in `bench/peers/` are compiled here, kept running, and given
 * turns. A program builds its work from its arguments, prints `ready`, and answers each line `run ROUNDS [WHAT]` with
 * `NANOSECONDS CHECKSUM`. `peers/peer.h` has that loop for C and C++.
 */

import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import { cpus } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { Contender, Turn } from './measure.js'
import { Missing } from './row.js'

/** How a language is compiled. A source overrides the flags with a line `flags: …` in its first comment. */
interface Compiler {
  readonly command: string
  readonly flags: readonly string[]
  readonly package: string
}

const NATIVE = ['-O2', '-march=native', '-std=gnu11']

const COMPILERS: Readonly<Record<string, Compiler>> = {
  '.c': { command: 'gcc', flags: NATIVE, package: 'gcc' },
  '.cpp': { command: 'g++', flags: ['-O2', '-march=native', '-std=c++17'], package: 'g++' },
  '.rs': { command: 'rustc', flags: ['-O', '-C', 'target-cpu=native', '--edition', '2021'], package: 'rustc' },
}

/** How a command is run and what it printed; tests put in their own. */
export type Run = (command: string, words: readonly string[]) => string

const runHere: Run = (command, words) =>
  execFileSync(command, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

/** A source in a folder of peers. */
export interface PeerSource {
  readonly path: string
  readonly compiler: Compiler
  readonly flags: readonly string[]
  readonly needsGlib: boolean
}

/** Finds the source of a peer, and what it needs. */
export function peerSource(folder: string, name: string): PeerSource {
  for (const [ending, compiler] of Object.entries(COMPILERS)) {
    const path = join(folder, name + ending)
    if (!existsSync(path)) continue
    const text = readFileSync(path, 'utf8')
    const own = /^[ /*]*flags: (.*?)(?: \*\/)?$/m.exec(text)?.[1]?.split(' ')
    return { path, compiler, flags: own ?? compiler.flags, needsGlib: text.includes('<glib.h>') }
  }
  throw new Error(`there is no peer ${name} in ${folder}`)
}

/** Compiles a peer unless the same source was compiled before. Answers the program. @throws Missing */
export function compilePeer(folder: string, name: string, run: Run = runHere): string {
  const { path, compiler, flags, needsGlib } = peerSource(folder, name)
  must(run, compiler.command, `${compiler.package} is not here, and compiles the peer ${name}`)
  const glib = needsGlib ? glibFlags(run, name) : []
  const words = [...flags, path]
  const build = join(folder, 'build')
  const program = join(build, `${name}-${hashOf(folder, path, [...words, ...glib, cpus()[0]?.model ?? ''])}`)
  if (existsSync(program)) return program
  mkdirSync(build, { recursive: true })
  const fresh = `${program}.${process.pid}`
  try {
    run(compiler.command, [...words, ...glib, '-o', fresh, ...(compiler.command === 'rustc' ? [] : ['-lm'])])
  } catch (error) {
    throw new Error(`the peer ${name} does not compile: ${(error as { stderr?: string }).stderr ?? String(error)}`)
  }
  renameSync(fresh, program)
  return program
}

function must(run: Run, command: string, otherwise: string): void {
  try {
    run(command, ['--version'])
  } catch {
    throw new Missing(otherwise)
  }
}

function glibFlags(run: Run, name: string): readonly string[] {
  try {
    return run('pkg-config', ['--cflags', '--libs', 'glib-2.0']).trim().split(/\s+/)
  } catch {
    throw new Missing(`glib is not here (libglib2.0-dev and pkg-config), and the peer ${name} is built on it`)
  }
}

/** Of all that a program is made from. */
function hashOf(folder: string, source: string, words: readonly string[]): string {
  const hash = createHash('sha256').update(words.join('\0')).update(readFileSync(source))
  for (const file of readdirSync(folder).sort()) {
    if (file.endsWith('.h')) hash.update(readFileSync(join(folder, file)))
  }
  return hash.digest('hex').slice(0, 12)
}

/** Where the peers' sources are, seen from `dist/`. */
export const PEERS = resolve(import.meta.dirname, '../../bench/peers')

/** A peer that runs. */
export class Peer {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #name: string
  #waiting: { readonly done: (line: string) => void; readonly failed: (error: Error) => void } | null = null
  #errors = ''

  private constructor(name: string, child: ChildProcessWithoutNullStreams) {
    this.#name = name
    this.#child = child
    createInterface({ input: child.stdout }).on('line', (line) => {
      const waiting = this.#waiting
      this.#waiting = null
      waiting?.done(line)
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text
    })
    child.stdin.on('error', () => {})
    child.on('close', (code) => this.#waiting?.failed(new Error(`the peer ${name} ended (${code}): ${this.#errors}`)))
    child.on('error', (error) => this.#waiting?.failed(error))
  }

  /** Starts a program and waits until its work is built. */
  static async start(name: string, program: string, words: readonly (string | number)[]): Promise<Peer> {
    const peer = new Peer(name, spawn(program, words.map(String)))
    const line = await peer.#hear()
    if (line !== 'ready') throw new Error(`the peer ${name} said ${line}`)
    return peer
  }

  /** One turn, timed by the peer itself. @param what which of its works; absent where it has one */
  async turn(rounds: number, what?: string): Promise<Turn> {
    const heard = this.#hear()
    this.#child.stdin.write(what === undefined ? `run ${rounds}\n` : `run ${rounds} ${what}\n`)
    const words = (await heard).split(' ').map(Number)
    if (words.length !== 2 || words.some((word) => !Number.isFinite(word))) throw new Error(`${this.#name}: no answer`)
    return { ns: words[0], sum: words[1] }
  }

  /** As one of a race. */
  contender(name: string, operations: number, what?: string, rounds?: number): Contender {
    return { name, operations, rounds, run: (rounds) => this.turn(rounds, what) }
  }

  /** Ends it. */
  stop(): void {
    this.#child.kill()
  }

  #hear(): Promise<string> {
    return new Promise((done, failed) => {
      this.#waiting = { done, failed }
    })
  }
}
