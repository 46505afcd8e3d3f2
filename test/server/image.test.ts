/**
 * The image, without an engine: the tree that the Dockerfile's last stage copies together, read by a user without
 * rights who can write nowhere but to the folder of the sockets.
 */

import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { METHODS } from '../../proto/generated/methods.js'
import { type DaemonProcess, launch, until } from './process.js'
import { ask, JSON_HEADERS } from './shell.js'

const ROOT = resolve(import.meta.dirname, '../..')
const dockerfile = readFileSync(join(ROOT, 'Dockerfile'), 'utf8')

/** Instructions of the last stage: the word and what follows it. */
const instructions = dockerfile
  .slice(dockerfile.lastIndexOf('\nFROM '))
  .split('\n')
  .map((line) => /^([A-Z]+) (.*)$/.exec(line))
  .filter((match) => match !== null)
  .map(([, word, rest]) => ({ word, rest }))

const only = (word: string): string => {
  const found = instructions.filter((instruction) => instruction.word === word)
  expect(found).toHaveLength(1)
  return found[0].rest
}

const execForm = (text: string): string[] => JSON.parse(text.slice(text.indexOf('[')))

/** Packages that `npm ci --omit=dev` installs here, by the lock file. */
function productionPackages(): string[] {
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'))
  const entries = Object.entries(
    lock.packages as Record<string, { readonly dev?: boolean; readonly devOptional?: boolean }>,
  )
  return entries
    .filter(([path, entry]) => path.startsWith('node_modules/') && entry.dev !== true && entry.devOptional !== true)
    .map(([path]) => path)
    .filter((path) => existsSync(join(ROOT, path)))
}

/** Does the COPY instructions; a package that is not for production never gets in. */
function stage(tree: string): void {
  for (const { rest } of instructions.filter(({ word }) => word === 'COPY')) {
    const parts = rest.split(' ').filter((part) => !part.startsWith('--'))
    const target = join(tree, parts.at(-1)!)
    for (const source of parts.slice(0, -1).map((part) => part.replace(/^\/src\//, ''))) {
      const to = parts.at(-1)!.endsWith('/') ? join(target, basename(source)) : target
      if (source !== 'node_modules') cpSync(join(ROOT, source), to, { recursive: true })
      else for (const path of productionPackages()) cpSync(join(ROOT, path), join(tree, path), { recursive: true })
    }
  }
}

const home = mkdtempSync(join(tmpdir(), 'iommud-image-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

/** What stands for the image's folders and program here. */
function unpackImage() {
  const isRoot = process.getuid!() === 0
  const [uid] = only('USER').split(':').map(Number)
  const tree = join(home, 'tree')
  const run = join(home, 'run')
  mkdirSync(tree)
  mkdirSync(run, { mode: 0o750 })
  stage(tree)
  const node = join(home, 'node')
  copyFileSync(process.execPath, node)
  chmodSync(node, 0o555)
  // Files are root's, as in the image; whoever tests without being root cannot become another user.
  if (isRoot) chownSync(run, uid, uid)
  for (const folder of [home, tree]) chmodSync(folder, 0o555)
  const here = (argument: string): string => argument.replace(only('WORKDIR'), tree)
  const start = ([program, ...args]: readonly string[], more: readonly string[] = []): DaemonProcess => {
    expect(program).toBe('node')
    const env = { NODE_ENV: 'production', IOMMUD_SOCKET: join(run, 'iommud.sock'), TMPDIR: tree, HOME: tree }
    return launch([...args.map(here), ...more], { node, env, uid: isRoot ? uid : undefined, cwd: tree })
  }
  return { start, uid, run, socket: join(run, 'iommud.sock') }
}

describe('the image', () => {
  it('is made for a numeric user, in exec form, from an official image of one major version', () => {
    expect(only('USER')).toMatch(/^[1-9]\d*:[1-9]\d*$/)
    expect(execForm(only('ENTRYPOINT'))).toEqual(['node', `${only('WORKDIR')}/dist/server/main.js`])
    expect(execForm(only('HEALTHCHECK'))).toEqual([
      'node',
      `${only('WORKDIR')}/dist/clients/cli/main.js`,
      'healthcheck',
    ])
    const bases = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, base]) => base)
    expect(new Set(bases)).toEqual(new Set(['node:26-slim']))
    expect(dockerfile).toContain('npm ci --omit=dev')
  })

  it('holds no development package', () => {
    const packages = productionPackages().map((path) => path.replace('node_modules/', ''))
    expect(packages).toEqual(expect.arrayContaining(['fastify', 'koffi', 'protobufjs', 'pino']))
    for (const name of ['typescript', 'vitest', 'node', '@bufbuild/buf', '@connectrpc/connect']) {
      expect(packages).not.toContain(name)
    }
  })

  it('starts, is healthy, answers and stops for a user without rights, with everything else read-only', async () => {
    const { start, uid, run, socket } = unpackImage()
    const daemon = start(execForm(only('ENTRYPOINT')), ['--strict'])
    await until(() => daemon.stdout().includes('/readyz') || daemon.child.exitCode !== null)
    expect(daemon.stderr()).not.toMatch(/Error/)
    if (process.getuid!() === 0) {
      const status = readFileSync(`/proc/${daemon.child.pid}/status`, 'utf8')
      expect(status).toMatch(new RegExp(`^Uid:\\s+${uid}\\s+${uid}\\s`, 'm'))
    }
    const answer = await ask(socket, { path: METHODS.GetServerInfo.path, headers: JSON_HEADERS }, '{}')
    expect(JSON.parse(answer.body.toString())).toMatchObject({ strict: true })
    expect(await start(execForm(only('HEALTHCHECK'))).ended).toBe(0)
    daemon.child.kill('SIGTERM')
    expect(await daemon.ended).toBe(0)
    expect([existsSync(socket), existsSync(join(run, 'diagnostics.sock'))]).toEqual([false, false])
    expect(dirname(socket)).toBe(run)
  })
})
