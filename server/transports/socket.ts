/**
 * Unix sockets: where the clients' socket is, and how a daemon takes a path. A path is this daemon's for as long as it
 * holds the lock on a file beside it; a socket that a dead daemon left is replaced only after connecting to it failed.
 */

import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  statSync,
  unlinkSync,
} from 'node:fs'
import { connect, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'

/** Who may connect to a socket: its owner and group, or its owner alone. */
export const SOCKET_MODE = { GROUP: 0o660, OWNER: 0o600 } as const

/** Folders that the daemon makes are its user's alone. */
const FOLDER_MODE = 0o700

/** Write permission of everybody. */
const OTHERS_WRITE = 0o002

/** Longest path of a Unix socket, bytes. [unix(7) sun_path] */
const PATH_BYTES = 107

/** How long a connect on a local socket may take before the owner counts as alive but busy. */
const CONNECT_MS = 1_000

/** The path cannot be taken. */
export class SocketTaken extends Error {}

/** A path this process may listen on. */
export interface ClaimedPath {
  readonly path: string
  /** The path is still this daemon's: nobody has taken its folder or its lock away. */
  isOurs(): boolean
  /** Removes the socket and the lock, if they are still this daemon's. */
  release(): void
}

/** Locks an open file for this process; false if another process has it. */
export type TryLock = (fd: number) => boolean

/** Facts of the process that decide the default path. */
export interface PathFacts {
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly uid: number
}

/** Paths that daemons and clients try, in this order. */
export function socketCandidates({ environment, uid }: PathFacts): readonly string[] {
  const runtime = environment.XDG_RUNTIME_DIR
  return [
    '/run/iommud/iommud.sock',
    ...(runtime === undefined || runtime === '' ? [] : [join(runtime, 'iommud', 'iommud.sock')]),
    join(tmpdir(), `iommud-${uid}`, 'iommud.sock'),
  ]
}

/**
 * The first candidate whose folder is there to write to, or can be made.
 *
 * @throws SocketTaken no candidate has one
 */
export function defaultSocketPath(facts: PathFacts, candidates = socketCandidates(facts)): string {
  const usable = candidates.find((path) => canHold(dirname(path), facts.uid))
  if (usable === undefined) throw new SocketTaken('no folder for the socket can be made; name one with --socket')
  return usable
}

/**
 * Takes a path, so that `listenOn` can bind it.
 *
 * @throws SocketTaken a live daemon has it, or something that is no socket is there
 */
export async function claimPath(given: string, tryLock: TryLock): Promise<ClaimedPath> {
  const path = resolve(given)
  if (Buffer.byteLength(path) > PATH_BYTES) {
    throw new SocketTaken(`${path} is longer than the ${PATH_BYTES} bytes that a Unix socket's path may have`)
  }
  mkdirSync(dirname(path), { recursive: true, mode: FOLDER_MODE })
  const lock = takeLock(path, tryLock)
  try {
    await clearStale(path)
  } catch (error) {
    closeSync(lock)
    throw error
  }
  const isOurs = (): boolean => hasName(lock, lockPath(path))
  return {
    path,
    isOurs,
    release: () => {
      if (isOurs()) {
        tryUnlink(path)
        tryUnlink(lockPath(path))
      }
      closeSync(lock)
    },
  }
}

/**
 * Binds and listens. The socket never exists with wider rights than it shall have. It is bound under another name and
 * then renamed: when it closes, the name it was bound under is removed, and by then its own may be another daemon's.
 */
export function listenOn(server: Server, path: string, mode: number = SOCKET_MODE.GROUP): Promise<void> {
  return new Promise((listening, failed) => {
    server.once('error', failed)
    const bound = `${path.slice(0, -1)}${path.endsWith('~') ? '-' : '~'}`
    tryUnlink(bound)
    const before = process.umask(0o777 & ~mode)
    try {
      // Binding happens inside this call; only its callback comes later.
      server.listen(bound, () => {
        server.off('error', failed)
        listening()
      })
      if (server.listening) {
        chmodSync(bound, mode)
        renameSync(bound, path)
      }
    } finally {
      process.umask(before)
    }
  })
}

const lockPath = (path: string): string => join(dirname(path), `.${basename(path)}.lock`)

/** The lock is only good if the file it is on still has its name: a leaving daemon takes the name away. */
function takeLock(path: string, tryLock: TryLock): number {
  for (;;) {
    const fd = openSync(lockPath(path), constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
    if (!tryLock(fd)) {
      closeSync(fd)
      throw new SocketTaken(
        `a live iommud is listening on ${path}; stop it, or give this one a --socket in another folder`,
      )
    }
    if (hasName(fd, lockPath(path))) return fd
    closeSync(fd)
  }
}

/** Whether an open file still has a name. */
const hasName = (fd: number, name: string): boolean => {
  const [named, open] = [statSync(name, { throwIfNoEntry: false }), fstatSync(fd)]
  return named?.ino === open.ino && named.dev === open.dev
}

async function clearStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw new SocketTaken(`${path} is not a socket; it is left as it is`)
  const failure = await connectFailure(path)
  if (failure !== 'ECONNREFUSED' && failure !== 'ENOENT') {
    const why = failure === undefined ? 'answers' : `cannot be asked (${failure})`
    throw new SocketTaken(`a live daemon is listening on ${path}: it ${why}; choose a --socket in another folder`)
  }
  tryUnlink(path)
}

/** Undefined when somebody took the connection. */
function connectFailure(path: string): Promise<string | undefined> {
  return new Promise((done) => {
    const socket = connect(path)
    socket.setTimeout(CONNECT_MS, () => socket.destroy(Object.assign(new Error(), { code: 'ETIMEDOUT' })))
    socket.once('connect', () => {
      socket.destroy()
      done(undefined)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => done(error.code ?? 'unknown error'))
  })
}

/**
 * Whether a socket can be made in a folder, made now if need be. Where anybody may make folders, as in /tmp, it must be
 * this user's alone. Elsewhere its owner has chosen its rights: a volume that containers share is open to all of them.
 */
function canHold(folder: string, uid: number): boolean {
  try {
    // Its parent, such as /run, must be there: a system without one is not for us to furnish.
    if (!existsSync(folder)) mkdirSync(folder, { mode: FOLDER_MODE })
    accessSync(folder, constants.W_OK | constants.X_OK)
    if ((statSync(dirname(folder)).mode & OTHERS_WRITE) === 0) return true
    const found = lstatSync(folder)
    return found.isDirectory() && found.uid === uid && (found.mode & OTHERS_WRITE) === 0
  } catch {
    return false
  }
}

function tryUnlink(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}
