/** Puts what the reference did beside what ours did, case by case. */

import { EVENT } from '../../../hw-model/smmuv3/index.js'
import { TESTDEV_FAILED } from '../devices.js'
import { comparedBits } from '../quirks.js'
import { type Case, type Ending, type Epoch, RECORD_WORDS, recordAt } from './pair.js'
import { SMMU_QUIRK_LIST, type SmmuQuirk } from './quirks.js'
import { RAM_BASE } from './ram.js'

const EVENT_NAMES: ReadonlyMap<number, string> = new Map(Object.entries(EVENT).map(([name, number]) => [number, name]))

const BY_NAME = new Map(SMMU_QUIRK_LIST.map((quirk) => [quirk.name as SmmuQuirk, quirk]))

/** What became of a case. */
export interface Verdict {
  readonly case: Case
  readonly reference: Ending
  /** Quirks that hold and are still excused. */
  readonly excuses: readonly SmmuQuirk[]
  /** What differs and no excuse hides; empty where they agree. */
  readonly differences: readonly string[]
}

/** A line of the reference's log that tells of a translation, or of the end of a DMA. */
const LINE =
  /^smmuv3_(?:translate_(success|bypass|disable) .*?iova[=:]0x([0-9a-f]+)(?: translated=0x([0-9a-f]+) perm=0x([0-9a-f]+))?|read_mmio addr: 0x(a8) )/

interface Traced {
  readonly address: number
  /** Rights as the reference codes them: 1 to read, 2 to write. */
  readonly rights: number
  readonly isBypass: boolean
}

/** What was translated in each DMA, in order. */
export function readTrace(log: string): (Traced | null)[] {
  const all: (Traced | null)[] = []
  let last: Traced | null = null
  for (const line of log.split('\n')) {
    const match = LINE.exec(line)
    if (match === null) continue
    if (match[5] !== undefined) {
      all.push(last)
      last = null
    } else if (match[1] === 'success')
      last = { address: Number(`0x${match[3]}`), rights: Number(`0x${match[4]}`), isBypass: false }
    else last = { address: Number(`0x${match[2]}`), rights: 3, isBypass: true }
  }
  return all
}

/** How each DMA of an epoch ended in the reference. */
export function endingsOf(epoch: Epoch, answers: readonly string[], log: string, ram: Int32Array): readonly Ending[] {
  const traced = readTrace(log)
  if (traced.length !== epoch.cases.length) {
    throw new Error(`the log tells of ${traced.length} accesses, and ${epoch.cases.length} were made`)
  }
  let before = epoch.cases.length === 0 ? 0 : epoch.firstProd
  return epoch.cases.map(({ isWrite, prodAt, statusAt }, i) => {
    const prod = Number(answers[prodAt])
    const trace = traced[i]
    const isOk = trace !== null && (trace.rights & (isWrite ? 2 : 1)) !== 0
    if (statusAt >= 0 && !isOk && Number(answers[statusAt]) !== TESTDEV_FAILED) {
      throw new Error('a write arrived that the log does not tell of')
    }
    const at = (recordAt(before, epoch.eventLg2) - RAM_BASE) / 4
    const record = prod === before ? null : ram.slice(at, at + RECORD_WORDS)
    before = prod
    return { isOk, address: trace?.address ?? 0, isBypass: trace?.isBypass ?? false, prod, record }
  })
}

/** Judges a case. `isOn` says which quirks the reference still has. */
export function judge(
  own: Case,
  reference: Ending,
  answers: readonly string[],
  isOn: (name: string) => boolean,
): Verdict {
  const excuses = own.quirks.filter(isOn)
  const quirks = excuses.map((name) => BY_NAME.get(name)!)
  const differences: string[] = []
  for (const { at, want, what } of own.checks) {
    const got = Number(answers[at])
    if (got !== want) differences.push(`${what}: ours ${hex(want)}, reference ${hex(got)}`)
  }
  const { ours } = own
  if (!quirks.some(({ hides }) => hides === 'answer')) {
    if (ours.isOk !== reference.isOk) differences.push(`outcome: ours ${word(ours)}, reference ${word(reference)}`)
    else if (ours.isOk && ours.address !== reference.address) {
      differences.push(`address: ours ${hex(ours.address)}, reference ${hex(reference.address)}`)
    }
    if (!quirks.some(({ hides }) => hides === 'record')) differences.push(...recordDifferences(ours, reference, quirks))
  }
  return { case: own, reference, excuses, differences }
}

function recordDifferences(ours: Ending, reference: Ending, quirks: Parameters<typeof comparedBits>[0]): string[] {
  if (ours.record === null || reference.record === null) {
    if (ours.record === reference.record) return []
    return [`record: ours ${recordText(ours.record)}, reference ${recordText(reference.record)}`]
  }
  for (let i = 0; i < RECORD_WORDS; i++) {
    if (((ours.record[i] ^ reference.record[i]) & comparedBits(quirks, i)) !== 0) {
      return [`record: ours ${recordText(ours.record)}, reference ${recordText(reference.record)}`]
    }
  }
  return []
}

/** What a DMA's end is called: `translated`, `bypassed`, `aborted` without a record, or the name of its event. */
export function nameOf({ isOk, isBypass, record }: Ending): string {
  if (isOk) return isBypass ? 'bypassed' : 'translated'
  return record === null ? 'aborted' : (EVENT_NAMES.get(record[0] & 0xff) ?? `event ${record[0] & 0xff}`)
}

/** A record's four 64-bit words. */
export function recordText(record: Int32Array | null): string {
  if (record === null) return 'none'
  const word64 = (i: number): string =>
    [record[i + 1], record[i]].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('')
  return [0, 2, 4, 6].map(word64).join(' ')
}

const hex = (value: number): string => `0x${value.toString(16)}`
const word = ({ isOk, address }: Ending): string => (isOk ? `ok at ${hex(address)}` : 'abort')
