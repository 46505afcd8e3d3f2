/** A real daemon process, started as people start it. */

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

/** The compiled daemon; `npm test` builds it first. */
export const MAIN = resolve(import.meta.dirname, '../../dist/server/main.js')

/** A daemon process and what it has said. */
export interface DaemonProcess {
  readonly child: ChildProcess
  readonly stdout: () => string
  readonly stderr: () => string
  /** Exit status, or the signal's name. */
  readonly ended: Promise<number | string>
}

/** Starts a program of Node's and collects what it says. */
export function launch(
  args: readonly string[],
  options: {
    readonly env?: NodeJS.ProcessEnv
    readonly uid?: number
    readonly node?: string
    readonly cwd?: string
  } = {},
): DaemonProcess {
  const { env = {}, uid, node = process.execPath, cwd } = options
  const said = { stdout: '', stderr: '' }
  const child = spawn(node, args, { env: { PATH: process.env.PATH, ...env }, uid, gid: uid, cwd })
  child.stdout.on('data', (data) => {
    said.stdout += data
  })
  child.stderr.on('data', (data) => {
    said.stderr += data
  })
  const ended = new Promise<number | string>((done, failed) => {
    child.once('error', failed)
    child.once('close', (status, signal) => done(status ?? signal ?? 'nothing'))
  })
  return { child, stdout: () => said.stdout, stderr: () => said.stderr, ended }
}

/** Starts a daemon on a socket of its own and waits until it says where it listens. */
export async function startDaemonProcess(
  args: readonly string[] = [],
  path: string = join(mkdtempSync(join(tmpdir(), 'iommud-daemon-')), 's'),
): Promise<DaemonProcess & { readonly path: string }> {
  const daemon = launch([MAIN, '--socket', path, ...args])
  await until(() => daemon.stdout().includes('/readyz') || daemon.child.exitCode !== null)
  if (!existsSync(path)) throw new Error(`the daemon did not start: ${daemon.stderr()}`)
  return { ...daemon, path }
}

/** Waits for something to become true. */
export async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  for (let left = 6000; !(await isTrue()); left--) {
    if (left === 0) throw new Error('it did not become true')
    await new Promise((next) => setTimeout(next, 5))
  }
}
