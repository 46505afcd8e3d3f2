/** Two users of one daemon, each a process of its own: a token is its user's alone, and so is what it opens. */

import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { fieldsOf } from '../../proto/codec.js'
import { METHODS } from '../../proto/generated/methods.js'
import { Holder, IOVA, PLAIN, platformOf } from './ats-world.js'
import { bugLines } from './process-facts.js'

/** The compiled SDK: a process without a test runner cannot read its sources. */
const SDK = resolve(import.meta.dirname, '../../dist/clients/node')

/** Nobody. */
const OTHER_UID = 65_534

/** What another user's process is told of every method, and of a device that is taken. */
const PROGRAM = `
const [sdk, socketPath, token, deviceName, methods] = process.argv.slice(1)
const { createClient } = await import(sdk + '/client.js')
const { httpTransport } = await import(sdk + '/transport.js')
const client = createClient(httpTransport({ socketPath }))
const errno = (call) => call.then(() => '', (error) => error.errnoName ?? error.code)
const told = { stolen: {} }
for (const name of methods.split(',')) told.stolen[name] = await errno(client.call(name, { context: token }))
const { context } = await client.openContext({ lifetime: 3 })
const own = client.inContext(context)
told.bind = await own.bindDevice({ deviceName }).then(() => '', ({ errnoName, message }) => errnoName + ': ' + message)
told.devices = (await own.listDevices({})).devices.filter(({ bound }) => bound).map(({ deviceId }) => deviceId)
told.objects = (await own.listObjects({})).objects.length
await own.closeContext({})
console.log(JSON.stringify(told))
process.exit(0)
`

const IN_CONTEXT = Object.values(METHODS).filter(({ request }) =>
  fieldsOf(request).some(({ name }) => name === 'context'),
)

describe.runIf(process.getuid?.() === 0)('another user’s process', () => {
  const folder = mkdtempSync(join(tmpdir(), 'iommud-users-'))
  let daemon: Daemon
  let holder: Holder
  beforeAll(async () => {
    const path = join(folder, 'platform.json')
    writeFileSync(path, JSON.stringify(platformOf('vtd')))
    daemon = await startDaemon({ seed: 12, args: ['--platform', path] })
    // The folder is the test's own; an operator would give both users a group.
    chmodSync(dirname(daemon.socketPath), 0o711)
    chmodSync(daemon.socketPath, 0o666)
    holder = await Holder.open(daemon.client, PLAIN)
  })
  afterAll(async () => {
    await holder.close()
    expect(bugLines(daemon.log())).toEqual([])
    await daemon.stop()
    rmSync(folder, { recursive: true })
  })

  it('opens nothing by a token that it has seen, and is told of a device only that it is taken', async () => {
    const { token } = holder.client
    const names = IN_CONTEXT.map(({ name }) => name)
    const args = ['--input-type=module', '-e', PROGRAM, SDK, daemon.socketPath, token, PLAIN, names.join()]
    const options = { uid: OTHER_UID, gid: OTHER_UID, encoding: 'utf8', timeout: 30_000 } as const
    const told = JSON.parse(execFileSync(process.execPath, args, options))
    const answers = new Set(Object.values(told.stolen))
    expect([...answers]).toEqual(['EBADF'])
    expect(told.bind).toMatch(/^EBUSY: .*another user/)
    expect(told.bind).not.toMatch(/context \d/)
    expect([told.devices, told.objects]).toEqual([[0], 0])
    expect(await holder.read(IOVA)).toBe(1)
  })
})
