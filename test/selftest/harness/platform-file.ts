/** The platform of the real worlds as the daemon reads it. */

import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PLATFORM } from './real-world.js'

let path: string | undefined

/** Path of a file with it. */
export function platformFile(): string {
  if (path === undefined) {
    path = join(mkdtempSync(join(tmpdir(), 'iommud-selftest-')), 'platform.json')
    writeFileSync(path, JSON.stringify(PLATFORM))
  }
  return path
}
