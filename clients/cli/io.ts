/** What the command line touches of the world, so that tests can hold it in their hands. */

import { readFileSync } from 'node:fs'
import { buffer } from 'node:stream/consumers'
import { type Client, type ConnectOptions, connect } from '../node/index.js'

/** Standard streams, environment, files and the daemon. */
export interface Io {
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Writes a line to standard output. */
  out(line: string): void
  /** Writes a line to standard error. */
  err(line: string): void
  /** The bytes of a file. */
  readFile(path: string): Uint8Array
  /** All of standard input. */
  readInput(): Promise<Uint8Array>
  /** A client of the daemon there, or at the first default place. */
  connect(options: ConnectOptions): Client
}

/** The real world. */
export function processIo(): Io {
  // A reader that has seen enough (`| head`) is no failure of ours.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
  return {
    environment: process.env,
    out: (line) => void process.stdout.write(`${line}\n`),
    err: (line) => void process.stderr.write(`${line}\n`),
    readFile: (path) => readFileSync(path),
    readInput: () => buffer(process.stdin),
    connect,
  }
}
