/** The daemon as a process: its first lines, its socket against another daemon, its end. */

import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { METHODS } from '../../proto/generated/methods.js'
import { launch, MAIN, startDaemonProcess, until } from './process.js'
import { ask, JSON_HEADERS } from './shell.js'

const shell = async (line: string): Promise<string> => (await promisify(execFile)('sh', ['-c', line])).stdout

/** The lines that the daemon prints to be pasted. */
const curlLines = (stdout: string): string[] => stdout.split('\n').filter((line) => line.startsWith('  curl '))

const info = (path: string) => ask(path, { path: METHODS.GetServerInfo.path, headers: JSON_HEADERS }, '{}')

describe('the first lines', () => {
  it('say where it listens, with curl lines that work', async () => {
    const daemon = await startDaemonProcess(['--listen', '127.0.0.1:0'])
    expect(daemon.stdout()).toContain(`listening on unix:${daemon.path}`)
    const [overSocket, overTcp, ready] = curlLines(daemon.stdout())
    const { version } = JSON.parse(readFileSync(join(dirname(MAIN), '../../package.json'), 'utf8'))
    expect(JSON.parse(await shell(overSocket))).toMatchObject({ version })
    expect(JSON.parse(await shell(overTcp))).toMatchObject({ version })
    expect(await shell(ready)).toBe('ok\n')
    daemon.child.kill('SIGTERM')
    expect(await daemon.ended).toBe(0)
  })

  it('name a token file that its owner alone may read, and TCP without the token is refused', async () => {
    const daemon = await startDaemonProcess(['--listen', '127.0.0.1:0'])
    const [, address, file] = /listening on (http:\S+), token in (\S+)/.exec(daemon.stdout())!
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const refused = await fetch(address + METHODS.GetServerInfo.path, {
      method: 'POST',
      headers: JSON_HEADERS,
      body: '{}',
    })
    expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([401, 'unauthenticated'])
    expect(daemon.stderr() + daemon.stdout()).not.toContain(readFileSync(file, 'utf8').trim())
    daemon.child.kill('SIGTERM')
    await daemon.ended
  })
})

describe('a second daemon', () => {
  it('on a live one’s socket refuses to start with status 1, says so, and the first goes on', async () => {
    const first = await startDaemonProcess()
    const second = launch([MAIN, '--socket', first.path])
    expect(await second.ended).toBe(1)
    expect(second.stderr()).toContain(`a live iommud is listening on ${first.path}`)
    expect((await info(first.path)).status).toBe(200)
    first.child.kill('SIGTERM')
    await first.ended
  })

  it('takes over from one that was killed', async () => {
    const first = await startDaemonProcess()
    first.child.kill('SIGKILL')
    expect(await first.ended).toBe('SIGKILL')
    expect(existsSync(first.path)).toBe(true)
    const second = await startDaemonProcess([], first.path)
    expect((await info(second.path)).status).toBe(200)
    second.child.kill('SIGINT')
    expect(await second.ended).toBe(0)
    expect(existsSync(second.path)).toBe(false)
  })
})

describe('the command line', () => {
  it('is refused with status 2 and one line where it is wrong', async () => {
    const daemon = launch([MAIN, '--sokcet', '/x'])
    expect(await daemon.ended).toBe(2)
    expect(daemon.stderr()).toBe("iommud: unknown option '--sokcet'\n(Did you mean --socket?)\n")
  })

  it('prints the configuration and ends', async () => {
    const daemon = launch([MAIN, '--print-config', '--drain-ms', '9'])
    expect(await daemon.ended).toBe(0)
    expect(daemon.stdout()).toMatch(/^drainMs: 9$/m)
  })

  it('is refused with status 2 where a folder for files does not exist', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'iommud-cli-'))
    const daemon = launch([MAIN, '--socket', join(folder, 's'), '--file-root', join(folder, 'none')])
    expect(await daemon.ended).toBe(2)
    expect(daemon.stderr()).toContain(join(folder, 'none'))
  })

  it('is refused with status 2 where the token file may be read by others', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'iommud-cli-'))
    await shell(`umask 022 && echo 0123456789abcdef0123 > ${folder}/token`)
    const args = ['--socket', join(folder, 's'), '--listen', '127.0.0.1:0', '--token-file', join(folder, 'token')]
    const daemon = launch([MAIN, ...args])
    expect(await daemon.ended).toBe(2)
    expect(daemon.stderr()).toContain('others than its owner may read it')
    expect(existsSync(join(folder, 's'))).toBe(false)
  })
})

describe('SIGTERM', () => {
  it('makes it not ready at once, lets a call in flight finish, and takes the sockets away', async () => {
    const daemon = await startDaemonProcess(['--drain-ms', '20000'])
    const diagnostics = join(dirname(daemon.path), 'diagnostics.sock')
    const call = async (method: keyof typeof METHODS, body: object) =>
      ask(daemon.path, { path: METHODS[method].path, headers: JSON_HEADERS }, JSON.stringify(body))
    const opened = JSON.parse((await call('OpenContext', {})).body.toString())
    const made = await call('CreateUnit', { context: opened.context, type: 'UNIT_TYPE_SMMUV3' })
    const { unitId } = JSON.parse(made.body.toString())
    const waiting = call('PollUnitInterrupts', { context: opened.context, unitId, waitMs: 1500 })
    const inFlight = async () => {
      const metrics = await ask(diagnostics, { method: 'GET', path: '/metrics' })
      return metrics.body.toString().includes('iommud_calls_in_flight 1')
    }
    await until(inFlight)
    daemon.child.kill('SIGTERM')
    await until(async () => (await ask(diagnostics, { method: 'GET', path: '/readyz' })).status === 503)
    expect((await info(daemon.path)).status).toBe(503)
    expect((await waiting).status).toBe(200)
    expect(await daemon.ended).toBe(0)
    expect([existsSync(daemon.path), existsSync(diagnostics)]).toEqual([false, false])
    const log = daemon
      .stderr()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(log.map(({ msg }) => msg)).toEqual(
      expect.arrayContaining(['started', 'context opened', 'context ended', 'stopped']),
    )
    expect(daemon.stderr()).not.toContain(opened.context)
  })
})
