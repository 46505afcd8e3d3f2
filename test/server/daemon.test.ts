/** The daemon as a process: its first lines, its socket against another daemon, its end. */

import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { connect } from 'node:net'
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

/** The log's lines that tell of an end. */
const lastWords = (stderr: string) =>
  stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .slice(-2)

describe('a signal', () => {
  it('of hanging up stops it in order, and the log says why', async () => {
    const daemon = await startDaemonProcess()
    daemon.child.kill('SIGHUP')
    expect(await daemon.ended).toBe(0)
    expect(existsSync(daemon.path)).toBe(false)
    expect(lastWords(daemon.stderr())).toMatchObject([
      { msg: 'stopping', why: 'SIGHUP' },
      { msg: 'stopped', why: 'SIGHUP' },
    ])
  })

  it('that comes second, whichever it is, ends it at once with status 1', async () => {
    const daemon = await startDaemonProcess(['--drain-ms', '60000'])
    const call = async (method: keyof typeof METHODS, body: object) =>
      ask(daemon.path, { path: METHODS[method].path, headers: JSON_HEADERS }, JSON.stringify(body))
    const { context } = JSON.parse((await call('OpenContext', {})).body.toString())
    await call('CreateUnit', { context, type: 'UNIT_TYPE_SMMUV3' })
    const waiting = call('PollUnitInterrupts', { context, unitId: 1, waitMs: 50_000 }).catch(() => 'cut')
    await new Promise((sent) => setTimeout(sent, 100))
    daemon.child.kill('SIGTERM')
    await until(() => daemon.stderr().includes('"stopping"'))
    daemon.child.kill('SIGINT')
    expect(await daemon.ended).toBe(1)
    expect(await waiting).toBe('cut')
    expect(lastWords(daemon.stderr())[1]).toMatchObject({ why: 'SIGINT', msg: 'ended at once, by a second signal' })
  })

  it('does not wait for idle keep-alive connections', async () => {
    const daemon = await startDaemonProcess()
    const agent = new Agent({ keepAlive: true })
    await ask(daemon.path, { path: METHODS.GetServerInfo.path, headers: JSON_HEADERS, agent }, '{}')
    const half = connect(daemon.path)
    half.on('error', () => {})
    half.write('POST /iommud.v1.ServerService/GetServerInfo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n')
    const startedAt = performance.now()
    daemon.child.kill('SIGTERM')
    expect(await daemon.ended).toBe(0)
    expect(performance.now() - startedAt).toBeLessThan(4500)
    agent.destroy()
    half.destroy()
  })
})

describe('a bug', () => {
  it.each([
    ['thrown', 'throw new Error("boom")'],
    ['of a promise', 'Promise.reject(new Error("boom"))'],
  ])('%s that nobody catches ends it with status 70, and its stack is the last line', async (_how, code) => {
    const bug = join(mkdtempSync(join(tmpdir(), 'iommud-bug-')), 'bug.mjs')
    writeFileSync(bug, `process.on('SIGUSR2', () => { ${code} })`)
    const path = join(dirname(bug), 's')
    const daemon = launch(['--import', bug, MAIN, '--socket', path])
    await until(() => daemon.stdout().includes('/readyz'))
    daemon.child.kill('SIGUSR2')
    expect(await daemon.ended).toBe(70)
    expect(lastWords(daemon.stderr())[1]).toMatchObject({
      msg: 'ended by a bug of the daemon',
      err: { message: 'boom', stack: expect.stringContaining(bug) },
    })
  })
})

describe('standard output and error', () => {
  it('whose readers went away do not end it', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'iommud-pipe-')), 's')
    const daemon = launch([MAIN, '--socket', path])
    daemon.child.stdout?.destroy()
    daemon.child.stderr?.destroy()
    await until(() => existsSync(path))
    expect((await info(path)).status).toBe(200)
    const ended = new Promise((done) => daemon.child.once('exit', done))
    daemon.child.kill('SIGTERM')
    expect(await ended).toBe(0)
  })

  it('on a full disk does not end it', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'iommud-full-')), 's')
    const line = `exec ${process.execPath} ${MAIN} --socket ${path} >/dev/full 2>&1`
    const daemon = launch(['-c', line], { node: '/bin/sh' })
    await until(() => existsSync(path))
    for (let i = 0; i < 20; i++) await ask(path, { path: METHODS.GetContext.path, headers: JSON_HEADERS }, '{}')
    expect((await info(path)).status).toBe(200)
    daemon.child.kill('SIGTERM')
    expect(await daemon.ended).toBe(0)
  })
})

describe('a daemon whose folder was removed', () => {
  it('is not ready, and when it stops it leaves the sockets of its successor alone', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'iommud-gone-')), 'x', 's')
    const first = await startDaemonProcess(['--diagnostics', '127.0.0.1:0'], path)
    const [, readyz] = /curl (http:\S+\/readyz)/.exec(first.stdout())!
    expect((await fetch(readyz)).status).toBe(200)
    rmSync(dirname(path), { recursive: true })
    const answer = await fetch(readyz)
    expect([answer.status, await answer.text()]).toEqual([503, expect.stringContaining(`unix:${path} is gone`)])
    const second = await startDaemonProcess([], path)
    first.child.kill('SIGTERM')
    expect(await first.ended).toBe(0)
    expect((await info(path)).status).toBe(200)
    second.child.kill('SIGTERM')
    expect(await second.ended).toBe(0)
    expect(existsSync(path)).toBe(false)
  })
})

describe('the log', () => {
  it('begins with what an operator needs: version, pid, changed limits, units, devices, listeners', async () => {
    const daemon = await startDaemonProcess(['--limit', 'context.objects=5'])
    daemon.child.kill('SIGTERM')
    await daemon.ended
    const [started] = daemon.stderr().split('\n')
    expect(JSON.parse(started)).toMatchObject({
      msg: 'started',
      version: expect.any(String),
      pid: daemon.child.pid,
      limits: { 'context.objects': 5 },
      units: ['smmu0 (smmuv3)', 'vtd0 (vtd)'],
      devices: expect.arrayContaining(['0000:01:01.0']),
      http: `unix:${daemon.path}`,
    })
    expect(started).not.toContain('redacted')
  })
})

describe('the printed configuration', () => {
  it('given with --config, is the same configuration', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'iommud-yaml-')), 'a.yaml')
    const args = ['--limit', 'context.objects=5', '--seed', '5', '--strict', '--file-root', '/tmp', '--drain-ms', '9']
    const first = launch([MAIN, '--print-config', ...args])
    await first.ended
    writeFileSync(file, first.stdout())
    const second = launch([MAIN, '--print-config', '--config', file])
    await second.ended
    expect(second.stdout()).toBe(first.stdout())
    expect(first.stdout()).toContain('context.objects: 5')
  })
})
