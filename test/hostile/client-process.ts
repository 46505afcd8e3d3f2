/** A client in a process of its own, to be killed: it opens a context, fills it, tells its token and waits. */

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'

/** The compiled SDK: a process without a test runner cannot read its sources. */
const SDK = resolve(import.meta.dirname, '../../dist/clients/node')

const PROGRAM = `
const [sdk, socketPath, lifetime, leaseMs, deviceName] = process.argv.slice(1)
const { createClient } = await import(sdk + '/client.js')
const { httpTransport } = await import(sdk + '/transport.js')
const client = createClient(httpTransport({ socketPath }))
const { context } = await client.openContext({ lifetime: Number(lifetime), leaseMs: Number(leaseMs) })
const inside = client.inContext(context)
const { regionId } = await inside.createMemoryRegion({ anonymous: { bytes: 0x100000n } })
const { ioasId } = await inside.createIoas()
const map = { ioasId, flags: 7, region: { regionId, offset: 0n }, length: 0x100000n, iova: 0x40000000n }
await inside.ioasMap(map)
const { deviceId } = await inside.bindDevice({ deviceName })
await inside.attachRid({ deviceId, ptId: ioasId })
// A raw unit holds an access: STE 1 with one CD, whose S says stall, and whose table is empty.
const ram = await inside.createMemoryRegion({ anonymous: { bytes: 0x10000n }, busAddress: 0x80000000n })
const store = (offset, ...words) => {
  const data = new Uint8Array(BigUint64Array.from(words).buffer)
  return inside.writeMemory({ patches: [{ regionId: ram.regionId, offset, data }] })
}
await store(0x40n, 0x8000100bn, 0xd6n)
await store(0x1000n, 0x1f205c0003510n, 0x80002000n)
const { unitId } = await inside.createUnit({ type: 1, preset: 'full' })
const writes = [[0x80, 8, 0x80000000n], [0x88, 4, 1n], [0xa0, 8, 0x80003005n], [0x20, 4, 5n]]
await inside.writeUnitRegisters({ unitId, writes: writes.map(([offset, width, value]) => ({ offset, width, value })) })
const { transactionIds } = await inside.translateUnit({ unitId, sourceIds: [1], iovas: [0n], access: 1 })
console.log(JSON.stringify({ context, deviceId, pending: Number(transactionIds[0]) }))
// A connection whose other end is gone must not end the process before it is killed.
setInterval(() => {}, 1000)
`

/** What a client process has told. */
export interface ClientProcess {
  /** Its context's token. */
  readonly context: string
  readonly deviceId: number
  /** An access that its raw unit holds. */
  readonly pending: number
  /** Ends it without warning, as `kill -9` does. */
  kill(): Promise<void>
}

/** What it is to open. */
export interface ClientProcessOptions {
  readonly socketPath: string
  readonly lifetime: number
  readonly leaseMs?: number
  readonly deviceName: string
}

/** Starts a client and waits until its objects are made. */
export async function startClientProcess(options: ClientProcessOptions): Promise<ClientProcess> {
  if (!existsSync(SDK)) throw new Error('the SDK is not built: run `npm run build`')
  const { socketPath, lifetime, leaseMs = 0, deviceName } = options
  const args = ['--input-type=module', '-e', PROGRAM, SDK, socketPath, String(lifetime), String(leaseMs), deviceName]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const killWithUs = (): void => void child.kill('SIGKILL')
  process.once('exit', killWithUs)
  const ended = new Promise<void>((done) => {
    child.once('exit', () => {
      process.off('exit', killWithUs)
      done()
    })
  })
  const line = await Promise.race([firstLine(child), ended])
  if (line === undefined) throw new Error('the client process ended before it told its token')
  const told = JSON.parse(line) as Omit<ClientProcess, 'kill'>
  return {
    ...told,
    kill: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((done) => {
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).once('line', done)
  })
}
