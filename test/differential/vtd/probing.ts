/** Judges a probe by its last case: which quirks the reference has, and where ours does not answer as the manual. */

import type { Finding } from '../runner.js'
import { recordText } from './judge.js'
import type { Case, Ending } from './pair.js'
import type { Expected } from './probe-stage.js'

const IQE = 0x10

/** What both say of a probe. IQH and FSTS stand first among the checks of one that asks the queue. */
export function judgeProbe(expected: Expected, last: Case, reference: Ending, answers: readonly string[]): Finding {
  if (expected === 'stops' || expected === 'goes on') {
    const [head, faults] = last.checks
    const [own, theirs] = [queueText(head.want, faults.want), queueText(answers[head.at], answers[faults.at])]
    return finding(expected, own.startsWith(expected), theirs.startsWith(expected), own, theirs)
  }
  const want = expectedText(expected)
  const [own, theirs] = [endingText(last.ours), endingText(reference)]
  return finding(want, own === want, theirs === want, own, theirs)
}

const finding = (want: string, isOwn: boolean, isTheirs: boolean, own: string, theirs: string): Finding => ({
  isShown: !isTheirs,
  ours: isOwn ? '' : `${own} where the manual says ${want}`,
  reference: theirs,
})

const queueText = (head: string | number, faults: string | number): string =>
  `${(Number(faults) & IQE) !== 0 ? 'stops' : 'goes on'}, IQH ${Number(head)}`

const endingText = ({ isOk, address, record }: Ending): string => {
  if (isOk) return `ok at 0x${address.toString(16)}`
  return record === null ? 'abort' : recordText(record)
}

function expectedText(expected: Exclude<Expected, 'stops' | 'goes on'>): string {
  if (expected === 'abort') return 'abort'
  if ('ok' in expected) return `ok at 0x${expected.ok.toString(16)}`
  return expected.record.map((word) => word.toString(16).padStart(16, '0')).join(' ')
}
