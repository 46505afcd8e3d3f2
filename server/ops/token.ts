/** The token of the TCP listener, in a file that only its owner may read. */

import { randomBytes } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readFileSync, writeSync } from 'node:fs'
import { ConfigError } from './config.js'

/** 256 random bits, in a form that fits a header. */
const TOKEN_BYTES = 32

/** Letters that a header can carry as one word. [RFC 6750 2.1 b64token] */
const TOKEN_FORM = /^[\w.~+/-]{16,512}=*$/

/**
 * The token in a file; a new one if the file does not exist. It is never one that a seed would give again.
 *
 * @throws ConfigError others may read the file, or it holds no token
 */
export function readOrMakeToken(path: string): string {
  let fd: number
  try {
    fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return readToken(path)
    throw new ConfigError(`the token file cannot be made: ${error instanceof Error ? error.message : error}`)
  }
  const token = randomBytes(TOKEN_BYTES).toString('base64url')
  writeSync(fd, `${token}\n`)
  closeSync(fd)
  return token
}

function readToken(path: string): string {
  const fd = openSync(path, 'r')
  try {
    if ((fstatSync(fd).mode & 0o077) !== 0) throw new ConfigError(`${path}: others than its owner may read it`)
    const token = readFileSync(fd, 'utf8').trim()
    if (!TOKEN_FORM.test(token)) throw new ConfigError(`${path}: a token is one word of at least 16 characters`)
    return token
  } finally {
    closeSync(fd)
  }
}
