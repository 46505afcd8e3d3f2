/** Where a server listens, and how that is written in configuration and in its first lines. */

import { existsSync } from 'node:fs'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type ClaimedPath, claimPath, listenOn, type TryLock } from './transports/socket.js'

/** A listener that is open. */
export interface Listener {
  /** What follows `curl`: `--unix-socket PATH http://iommud`, or `http://127.0.0.1:PORT`. */
  readonly curl: string
  /** `unix:PATH`, or a URL. */
  readonly address: string
  /** Clients still find it there: its path has not been taken away. */
  isThere(): boolean
  /** Forgets the path, where there was one. */
  release(): void
}

/** HOST:PORT, with an IPv6 host in brackets. */
const HOST_PORT = /^(?:\[([0-9a-f:.]+)\]|([\w.-]+)):(\d+)$/i

/** Opens a listener at HOST:PORT or on a socket path, where `mode` says who may connect. */
export async function openListener(server: Server, where: string, tryLock: TryLock, mode?: number): Promise<Listener> {
  const tcp = HOST_PORT.exec(where)
  return tcp === null
    ? openPath(server, where, tryLock, mode)
    : openTcp(server, tcp[1] ?? tcp[2], Number(tcp[3]), tcp[1] !== undefined)
}

async function openPath(server: Server, where: string, tryLock: TryLock, mode?: number): Promise<Listener> {
  const claimed: ClaimedPath = await claimPath(where, tryLock)
  try {
    await listenOn(server, claimed.path, mode)
  } catch (error) {
    claimed.release()
    throw error
  }
  const { path, isOurs, release } = claimed
  const isThere = (): boolean => isOurs() && existsSync(path)
  return { curl: `--unix-socket ${quoted(path)} http://iommud`, address: `unix:${path}`, isThere, release }
}

async function openTcp(server: Server, host: string, port: number, bracketed: boolean): Promise<Listener> {
  await new Promise<void>((listening, failed) => {
    server.once('error', failed)
    server.listen(port, host, () => {
      server.off('error', failed)
      listening()
    })
  })
  const url = `http://${bracketed ? `[${host}]` : host}:${(server.address() as AddressInfo).port}`
  return { curl: url, address: url, isThere: () => true, release: () => {} }
}

const quoted = (path: string): string => (/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`)
