/** Gives all tests of a run one temporary folder of their own, and takes it away with whatever they left in it. */

import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Called by the test runner before the first test; what it answers is called after the last. */
export function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'iommud-tests-'))
  // Tests that run a daemon as another user let that user in.
  chmodSync(folder, 0o755)
  process.env['TMPDIR'] = folder
  return () => rmSync(folder, { recursive: true, force: true })
}
