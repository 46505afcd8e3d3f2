/** Clients that know nothing of us but the contract: curl, and connect-node with messages made from the descriptors. */

import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createFileRegistry, type DescMethodUnary, fromBinary, type Message } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import { Code, ConnectError, type Interceptor, type Transport } from '@connectrpc/connect'
import { createConnectTransport } from '@connectrpc/connect-node'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FILE_DESCRIPTOR_SET } from '../../proto/generated/descriptors.js'
import { checkConfig } from '../../server/ops/config.js'
import { type RunningServer, startServer } from '../../server/start.js'

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, Buffer.from(FILE_DESCRIPTOR_SET, 'base64')))
const folder = mkdtempSync(join(tmpdir(), 'iommud-stock-'))
const socket = join(folder, 's')

let server: RunningServer
beforeAll(async () => {
  server = await startServer(checkConfig({ socket, listen: '127.0.0.1:0', diagnostics: 'off', logLevel: 'silent' }))
})
afterAll(() => server.stop())

/** A method of the contract, found by its name. */
function methodOf(service: string, name: string): DescMethodUnary {
  const method = registry.getService(`iommud.v1.${service}`)?.methods.find((each) => each.name === name)
  if (method?.methodKind !== 'unary') throw new Error(`${service}/${name} is no unary method`)
  return method as DescMethodUnary
}

type Fields = Record<string, unknown>

async function call(transport: Transport, service: string, name: string, request: Fields): Promise<Fields> {
  const reply = await transport.unary(methodOf(service, name), undefined, undefined, undefined, request)
  return reply.message as Message & Fields
}

const bearer: Interceptor = (next) => (request) => {
  request.header.set('authorization', `Bearer ${readFileSync(server.tcp!.tokenFile, 'utf8').trim()}`)
  return next(request)
}

const overSocket = (useBinaryFormat: boolean, more: object = {}): Transport =>
  createConnectTransport({
    baseUrl: 'http://iommud',
    httpVersion: '1.1',
    nodeOptions: { socketPath: socket },
    useBinaryFormat,
    ...more,
  })

const overTcp = (useBinaryFormat: boolean): Transport =>
  createConnectTransport({ baseUrl: server.tcp!.address, httpVersion: '1.1', useBinaryFormat, interceptors: [bearer] })

const transports: readonly (readonly [string, () => Transport])[] = [
  ['binary over a Unix socket', () => overSocket(true)],
  ['JSON over a Unix socket', () => overSocket(false)],
  ['GET over a Unix socket', () => overSocket(false, { useHttpGet: true })],
  ['binary over TCP', () => overTcp(true)],
  ['JSON over TCP', () => overTcp(false)],
]

describe.each(transports)('connect-node, %s', (_name, make) => {
  it('asks what the daemon is', async () => {
    const reply = await call(make(), 'ServerService', 'GetServerInfo', {})
    expect(reply).toMatchObject({ bootId: server.core.bootId })
    const { methods } = (await call(make(), 'ServerService', 'ListMethods', {})) as { methods: Fields[] }
    const count = [...registry].filter((desc) => desc.kind === 'service').flatMap(({ methods }) => methods).length
    expect(methods).toHaveLength(count)
  })

  it('opens a context, makes an address space, and ends it', async () => {
    const transport = make()
    const { context } = await call(transport, 'ContextService', 'OpenContext', { label: 'stock' })
    const { ioasId } = await call(transport, 'IommuService', 'CreateIoas', { context })
    expect(ioasId).toBe(1)
    const ranges = await call(transport, 'IommuService', 'IoasIovaRanges', { context, ioasId })
    expect(ranges.ranges).toMatchObject([{ first: 0n, last: 2n ** 64n - 1n }])
    const { objects } = await call(transport, 'ContextService', 'ListObjects', { context })
    expect(objects).toMatchObject([{ id: 1, users: 0 }])
    await call(transport, 'ContextService', 'CloseContext', { context })
    expect(server.core.contexts).toHaveLength(0)
  })

  it('is told errno, reason and facts of a refusal', async () => {
    const transport = make()
    const { context } = await call(transport, 'ContextService', 'OpenContext', {})
    const error = await call(transport, 'IommuService', 'Destroy', { context, objectId: 7 }).catch((thrown) => thrown)
    expect(error).toBeInstanceOf(ConnectError)
    expect((error as ConnectError).code).toBe(Code.NotFound)
    const [detail] = (error as ConnectError).findDetails(registry.getMessage('iommud.v1.RefusalDetail')!)
    expect(detail).toMatchObject({ errno: 2, name: 'ENOENT' })
    await call(transport, 'ContextService', 'CloseContext', { context })
  })

  it('is told that a method is not offered', async () => {
    const error = await call(make(), 'AdminService', 'InjectFault', {}).catch((thrown) => thrown)
    expect((error as ConnectError).code).toBe(Code.Unimplemented)
  })
})

describe('curl', () => {
  const curl = async (...args: string[]): Promise<Fields> => {
    const { stdout } = await promisify(execFile)('curl', ['-sS', ...args])
    return JSON.parse(stdout) as Fields
  }
  const post = (path: string, body: object, ...args: string[]): Promise<Fields> =>
    curl('-H', 'content-type: application/json', '-d', JSON.stringify(body), ...args, `http://iommud/iommud.v1.${path}`)

  it('calls in JSON over the Unix socket, compressed if it likes', async () => {
    const unix = ['--unix-socket', socket]
    expect(await post('ServerService/GetServerInfo', {}, ...unix)).toMatchObject({ bootId: server.core.bootId })
    expect(await post('ServerService/ListMethods', {}, '--compressed', ...unix)).toHaveProperty('methods.0.service')
    const { context } = await post('ContextService/OpenContext', {}, ...unix)
    expect(await post('IommuService/CreateIoas', { context }, ...unix)).toEqual({ ioasId: 1 })
    const refusal = await post('IommuService/Destroy', { context, objectId: 9 }, ...unix)
    expect(refusal).toMatchObject({ code: 'not_found', details: [{ debug: { name: 'ENOENT' } }] })
    await post('ContextService/CloseContext', { context }, ...unix)
  })

  it('calls over TCP with the token', async () => {
    const { address, tokenFile } = server.tcp!
    const token = readFileSync(tokenFile, 'utf8').trim()
    const path = `${address}/iommud.v1.ServerService/GetServerInfo`
    const json = ['-H', 'content-type: application/json', '-d', '{}', path]
    expect(await curl('-H', `authorization: Bearer ${token}`, ...json)).toMatchObject({ bootId: server.core.bootId })
    expect(await curl(...json)).toMatchObject({ code: 'unauthenticated' })
  })
})
