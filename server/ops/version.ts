/** The version, as package.json has it. */

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Looks upwards: sources and compiled output stand at different depths. */
export function packageVersion(from = import.meta.dirname): string {
  const path = join(from, 'package.json')
  if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8')).version
  return packageVersion(dirname(from))
}
