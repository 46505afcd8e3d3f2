/** Runs the probes and says which quirks the reference has, and where ours does not answer as the manual. */

import type { Finding } from '../runner.js'
import { recordText } from './judge.js'
import type { Case, Ending } from './pair.js'
import type { Expected } from './probe-stage.js'

/** Judges a probe by its last case. CMDQ_CONS stands first among the checks of one that must stop the queue. */
export function judgeProbe(expected: Expected, last: Case, reference: Ending, answers: readonly string[]): Finding {
  if (expected === 'stopped') {
    const [{ at, want }] = last.checks
    const isStopped = (value: number): boolean =>
      value >>> 24 === 1 && (value & 0xfffff) === (last.checks[1].want & 0xfffff) - 2
    const got = Number(answers[at])
    const text = (value: number): string => `CMDQ_CONS 0x${value.toString(16)}`
    return { isShown: got !== want, ours: isStopped(want) ? '' : text(want), reference: text(got) }
  }
  const want = expectedText(expected)
  const [own, theirs] = [endingText(last.ours), endingText(reference)]
  return {
    isShown: theirs !== want,
    ours: own === want ? '' : `${own} where the manual says ${want}`,
    reference: theirs,
  }
}

const endingText = ({ isOk, address, record }: Ending): string => {
  if (isOk) return `ok at 0x${address.toString(16)}`
  return record === null ? 'abort' : recordText(record)
}

function expectedText(expected: Exclude<Expected, 'stopped'>): string {
  if (expected === 'abort') return 'abort'
  if ('ok' in expected) return `ok at 0x${expected.ok.toString(16)}`
  return expected.record.map((word) => word.toString(16).padStart(16, '0')).join(' ')
}
