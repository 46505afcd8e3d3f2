/** A case in words, for whoever reruns it. */

import { recordText, type Verdict } from './judge.js'
import type { Ending } from './pair.js'

/** What happened before it, what was asked, and what both units answered. */
export function explainCase({ case: own, reference, excuses, differences }: Verdict): string {
  const side = (name: string, { isOk, address, prod, record }: Ending): string =>
    `  ${name}: ${isOk ? `ok at 0x${address.toString(16)}` : 'abort'}, queue index ${prod}, record ${recordText(record)}`
  return [
    ...own.story.map((line) => `  ${line}`),
    `  ${own.isWrite ? 'write' : 'read'} of stream ${own.sid} at 0x${own.va.toString(16)} ${own.change}`,
    `  as memory stands: ${own.ends}${own.stage === 0 ? '' : ` at stage ${own.stage}`}`,
    side('ours     ', own.ours),
    side('reference', reference),
    `  excuses: ${excuses.join(' ') || 'none'}`,
    `  differences: ${differences.join('; ') || 'none'}`,
  ].join('\n')
}
