/** Who gets a socket's path: the default one, a stale one, a live one. */

import { spawn } from 'node:child_process'
import { chmodSync, closeSync, existsSync, mkdirSync, mkdtempSync, openSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { peerCredentials, tryLock } from '../../server/ops/native.js'
import {
  claimPath,
  defaultSocketPath,
  listenOn,
  SocketTaken,
  socketCandidates,
} from '../../server/transports/socket.js'

const folder = mkdtempSync(join(tmpdir(), 'iommud-socket-'))

const close = (server: Server): Promise<void> => new Promise((done) => server.close(() => done()))

/** A socket whose owner was killed. */
async function staleSocket(path: string): Promise<void> {
  const script = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
  const child = spawn(process.execPath, ['-e', script, path])
  await new Promise((done) => child.once('exit', done))
  expect(existsSync(path)).toBe(true)
}

describe('a path', () => {
  it('that is free is taken, made for owner and group alone, and removed at the end', async () => {
    const path = join(folder, 'made', 'free.sock')
    const claimed = await claimPath(path, tryLock)
    const server = createServer()
    await listenOn(server, claimed.path)
    expect(statSync(path).mode & 0o777).toBe(0o660)
    expect(statSync(join(folder, 'made')).mode & 0o777).toBe(0o700)
    claimed.release()
    await close(server)
    expect(existsSync(path)).toBe(false)
    expect(existsSync(join(folder, 'made', '.free.sock.lock'))).toBe(false)
  })

  it('with the socket of a dead daemon is taken over', async () => {
    const path = join(folder, 'stale.sock')
    await staleSocket(path)
    const claimed = await claimPath(path, tryLock)
    const server = createServer((socket) => socket.end('new'))
    await listenOn(server, claimed.path)
    const said = await new Promise((done) => connect(path).on('data', (data) => done(`${data}`)))
    expect(said).toBe('new')
    await close(server)
    claimed.release()
  })

  it('with the socket of a live daemon is refused, and that daemon keeps it', async () => {
    const path = join(folder, 'live.sock')
    const owner = createServer((socket) => socket.end())
    await new Promise<void>((done) => owner.listen(path, done))
    await expect(claimPath(path, tryLock)).rejects.toThrow(SocketTaken)
    await expect(claimPath(path, tryLock)).rejects.toThrow(/a live daemon is listening/)
    expect(existsSync(path)).toBe(true)
    await close(owner)
  })

  it('that another has locked is refused before its socket exists', async () => {
    const path = join(folder, 'locked.sock')
    const claimed = await claimPath(path, tryLock)
    await expect(claimPath(path, tryLock)).rejects.toThrow(/a live iommud is listening/)
    claimed.release()
    ;(await claimPath(path, tryLock)).release()
  })

  it('with something that is no socket is refused, and it is left', async () => {
    const path = join(folder, 'file.sock')
    writeFileSync(path, 'mine')
    await expect(claimPath(path, tryLock)).rejects.toThrow(/not a socket/)
    expect(existsSync(path)).toBe(true)
  })

  it('longer than a socket can have is refused', async () => {
    await expect(claimPath(join(folder, 'x'.repeat(108)), tryLock)).rejects.toThrow(/107 bytes/)
  })
})

describe('the default path', () => {
  it('is looked for under /run, then in the user’s runtime folder, then under the temporary folder', () => {
    const environment = { XDG_RUNTIME_DIR: '/run/user/5' }
    expect(socketCandidates({ environment, uid: 5 })).toEqual([
      '/run/iommud/iommud.sock',
      '/run/user/5/iommud/iommud.sock',
      join(tmpdir(), 'iommud-5', 'iommud.sock'),
    ])
    expect(socketCandidates({ environment: {}, uid: 5 })).toHaveLength(2)
  })

  it('is the first whose folder is there to write to or can be made', () => {
    const facts = { environment: {}, uid: process.getuid!() }
    const [nowhere, made] = [join(folder, 'no', 'parent', 's'), join(folder, 'default', 's')]
    expect(defaultSocketPath(facts, [nowhere, made])).toBe(made)
    expect(statSync(join(folder, 'default')).mode & 0o777).toBe(0o700)
    expect(() => defaultSocketPath(facts, [nowhere])).toThrow(SocketTaken)
  })

  it('is under the temporary folder only where nobody else can be', () => {
    const shared = join(folder, 'tmp')
    const mine = join(shared, 'mine')
    mkdirSync(mine, { recursive: true })
    chmodSync(shared, 0o1777)
    const uid = process.getuid!()
    const ask = (asking: number): string => defaultSocketPath({ environment: {}, uid: asking }, [join(mine, 's')])
    expect(ask(uid)).toBe(join(mine, 's'))
    expect(() => ask(uid + 1)).toThrow(SocketTaken)
    chmodSync(mine, 0o777)
    expect(() => ask(uid)).toThrow(SocketTaken)
  })

  it('may be in a shared volume elsewhere', () => {
    const volume = join(folder, 'volume')
    mkdirSync(volume)
    chmodSync(volume, 0o777)
    expect(defaultSocketPath({ environment: {}, uid: 12345 }, [join(volume, 's')])).toBe(join(volume, 's'))
  })
})

describe('the other end of a socket', () => {
  it('is told by the kernel', async () => {
    const path = join(folder, 'peer.sock')
    const seen = await new Promise((done) => {
      const server = createServer((socket) => {
        done(peerCredentials((socket as unknown as { _handle: { fd: number } })._handle.fd))
        socket.end()
        server.close()
      })
      server.listen(path, () => connect(path))
    })
    expect(seen).toEqual({ pid: process.pid, uid: process.getuid!(), gid: process.getgid!() })
  })

  it('is nobody where the descriptor is no socket', () => {
    const fd = openSync(folder, 'r')
    expect(peerCredentials(fd)).toBeUndefined()
    closeSync(fd)
  })
})
