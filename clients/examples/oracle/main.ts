/** Runs one of the mistakes, or all of them: `node dist/clients/examples/oracle/main.js asid-reused`. */

import { pathToFileURL } from 'node:url'
import { renderStale } from '../../cli/render-stale.js'
import type { Client, StaleTranslation } from '../../node/index.js'
import { startDaemon } from '../../node/testing.js'
import { asidReused } from './asid-reused.js'
import { breakBeforeMake } from './break-before-make.js'
import { deviceTlb } from './device-tlb.js'
import { leafOnly } from './leaf-only.js'
import { missingSync } from './missing-sync.js'
import { notPresent } from './not-present.js'
import { steChanged } from './ste-changed.js'
import { unmapped } from './unmapped.js'
import { wrongDid } from './wrong-did.js'

/** By the names of their files. */
export const MISTAKES: Readonly<Record<string, (daemon: Client) => Promise<readonly StaleTranslation[]>>> = {
  unmapped,
  'asid-reused': asidReused,
  'device-tlb': deviceTlb,
  'not-present': notPresent,
  'ste-changed': steChanged,
  'wrong-did': wrongDid,
  'missing-sync': missingSync,
  'leaf-only': leafOnly,
  'break-before-make': breakBeforeMake,
}

/** Makes a mistake in a daemon of its own, and answers what the oracle prints. */
export async function linesOf(name: string): Promise<readonly string[]> {
  const daemon = await startDaemon({ inProcess: true })
  try {
    const reports = await MISTAKES[name](daemon.client)
    return reports.flatMap((report, i) => (i === 0 ? renderStale(report) : ['', ...renderStale(report)]))
  } finally {
    await daemon.stop()
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const asked = process.argv.slice(2)
  for (const name of asked.length === 0 ? Object.keys(MISTAKES) : asked) {
    if (!(name in MISTAKES)) throw new Error(`${name}: there is ${Object.keys(MISTAKES).join(', ')}`)
    process.stdout.write(`${name}\n${(await linesOf(name)).join('\n')}\n\n`)
  }
}
