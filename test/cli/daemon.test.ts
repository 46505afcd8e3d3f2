/** The command line against a real daemon, in process and as the program that users start. */

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect } from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'

const ROOT = resolve(import.meta.dirname, '../..')
const PROGRAM = join(ROOT, 'dist/clients/cli/main.js')
const CAPTURES = join(ROOT, 'test/fixtures/captures')

interface Ended {
  readonly status: number
  readonly out: string
  readonly err: string
}

let daemon: Daemon
let context = ''

beforeAll(async () => {
  daemon = await startDaemon({ seed: 1 })
  context = (await iommuctl(['open'])).out.trimEnd()
})

afterAll(async () => {
  await daemon.stop()
})

/** Runs the compiled program with nothing in its environment but what is given. */
function iommuctl(words: readonly string[], environment?: NodeJS.ProcessEnv): Promise<Ended> {
  const env = environment ?? { IOMMUD_SOCKET: daemon.socketPath, IOMMUD_CONTEXT: context }
  return new Promise((done) => {
    execFile(process.execPath, [PROGRAM, ...words], { env, cwd: '/' }, (error, out, err) => {
      done({ status: error === null ? 0 : Number(error.code), out, err })
    })
  })
}

/** The reply of a verb that is done. */
async function reply(...words: string[]): Promise<Record<string, unknown>> {
  const { status, out, err } = await iommuctl([...words, '--json'])
  expect({ words, status, err }).toEqual({ words, status: 0, err: '' })
  expect(out.endsWith('\n')).toBe(true)
  return JSON.parse(out)
}

describe('iommuctl', () => {
  it('opens a context that outlives it and prints the token alone', async () => {
    expect(context).toMatch(/^\S{32,}$/)
    expect(await reply('get-context')).toMatchObject({ lifetime: 'CONTEXT_LIFETIME_EXPLICIT' })
  })

  it('leads a DMA through a kernel-owned domain, verb by verb', async () => {
    const { regionId } = await reply('create-memory-region', '--anonymous.bytes', '0x10000')
    const { ioasId } = await reply('create-ioas')
    const { deviceId } = await reply('bind-device', '--device-name', '0000:00:01.0', '--grant', 'whole-device')
    const place = ['--region.region-id', `${regionId}`, '--region.offset', '0x4000']
    const map = ['--ioas-id', `${ioasId}`, '--flags', 'FIXED_IOVA|READABLE', '--length', '4096', '--iova', '0x1000000']
    await reply('ioas-map', ...map, ...place)
    await reply('attach-rid', '--device-id', `${deviceId}`, '--pt-id', `${ioasId}`)
    const access = ['--device-id', `${deviceId}`, '--iovas', '0x1000123,0x2000000', '--access', 'r']
    expect(await reply('translate', ...access)).toMatchObject({
      outcomes: [1, 2],
      regionIds: [regionId, 0],
      offsets: [String(0x4123), '0'],
    })
    const { out } = await iommuctl(['translate', ...access])
    expect(out).toMatch(/^0\s+0x1000123\s+OK\s+\d+\s+0x4123\s/m)
    expect(out).toMatch(/^1\s+0x2000000\s+FAULT\s.*F_TRANSLATION$/m)
    const walk = await iommuctl(['explain', '--device-id', `${deviceId}`, '--iova', '0x1000123'])
    expect(walk.out).toMatch(/^1\. [\s\S]*^\d\. CD[\s\S]*^ {2}verdict [\s\S]*^location\s+region \d+ \+ 0x4/m)
  })

  it('tells a refusal in one line, with exit status 1', async () => {
    const people = await iommuctl(['destroy', '--object-id', '4000'])
    expect(people).toMatchObject({ status: 1, out: '' })
    expect(people.err).toMatch(/^destroy: ENOENT: .+\n$/)
    const json = await iommuctl(['destroy', '--object-id', '4000', '--json'])
    expect(json).toMatchObject({ status: 1, err: '' })
    expect(JSON.parse(json.out)).toMatchObject({ error: { code: 'not_found', errno: 2, name: 'ENOENT' } })
  })

  it('exits with 2 for bad usage and with 3 without a daemon', async () => {
    expect((await iommuctl(['create-ioas', '--nope'])).status).toBe(2)
    expect((await iommuctl(['info', '--socket', '/nowhere/iommud.sock'])).status).toBe(3)
  })

  it('is healthy with nothing in its environment', async () => {
    const { status, out, err } = await iommuctl(['healthcheck', '--socket', daemon.socketPath], {})
    expect({ status, err }).toEqual({ status: 0, err: '' })
    expect(out).toMatch(/^healthy: iommud \S+, boot [0-9a-f]{32}, up \d+ ms\n$/)
    expect((await iommuctl(['healthcheck', '--socket', '/nowhere/iommud.sock'], {})).status).toBe(1)
  })

  it('closes a context, whose token is worth nothing afterwards', async () => {
    const { context: token } = await reply('open')
    expect((await iommuctl(['close', '--context', `${token}`])).out).toBe('done\n')
    expect((await iommuctl(['list-objects', '--context', `${token}`])).err).toMatch(/^list-objects: EBADF: /)
  })
})

describe('iommuctl capture verify', () => {
  it.each(['A', 'D', 'F'])('matches every lookup of %s on a private daemon', async (name) => {
    const { status, out, err } = await iommuctl(['capture', 'verify', join(CAPTURES, name), '--json'], {})
    expect({ status, err, lines: out.split('\n').length }).toEqual({ status: 0, err: '', lines: 2 })
    const rows = gunzipSync(readFileSync(join(CAPTURES, name, 'translations.jsonl.gz')))
      .toString()
      .trimEnd()
    const translations = rows.split('\n').length
    const result = JSON.parse(out)
    expect(result).toMatchObject({ translations, matched: translations, mismatched: 0, skipped: 0 })
    // D is a capture with a second stage, which no user domain can be made of.
    const { matched, mismatched, skipped } = result.userDomain
    expect(mismatched).toBe(0)
    const reached = matched + skipped
    if (name === 'D') expect(reached).toBe(0)
    else expect(reached).toBeGreaterThan(translations * 0.99)
    expect(matched).toBeGreaterThanOrEqual(name === 'D' ? 0 : translations - 50)
  })

  it('leaves nothing behind on a daemon that was named', async () => {
    const client = connect({ socketPath: daemon.socketPath })
    const before = await client.getContext({ context })
    const { status } = await iommuctl(['capture', 'verify', join(CAPTURES, 'A'), '--socket', daemon.socketPath])
    expect(status).toBe(0)
    expect((await client.getContext({ context })).quotas).toEqual(before.quotas)
    const { devices } = await client.listDevices({ context })
    expect(devices.filter(({ bound }) => bound).map(({ name }) => name)).toEqual(['0000:00:01.0'])
    client.close()
  })
})
