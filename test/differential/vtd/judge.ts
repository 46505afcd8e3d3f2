/** Puts what the reference did beside what ours did, case by case, and both memories at the end. */

import { faultName } from '../../../hw-model/vtd/index.js'
import { TESTDEV_FAILED } from '../devices.js'
import { comparedBits } from '../quirks.js'
import { BIT } from './entries.js'
import { REQUESTERS } from './machine.js'
import { type Case, type Ending, type Epoch, RECORD_WORDS } from './pair.js'
import { isDevice, PLACE } from './places.js'
import { VTD_QUIRK_LIST, VTD_QUIRKS, type VtdQuirk } from './quirks.js'

const BY_NAME = new Map(VTD_QUIRK_LIST.map((quirk) => [quirk.name as VtdQuirk, quirk]))

/** What became of a case. */
export interface Verdict {
  readonly case: Case
  readonly reference: Ending
  /** Quirks that hold and are still excused. */
  readonly excuses: readonly VtdQuirk[]
  /** What differs and no excuse hides; empty where they agree. */
  readonly differences: string[]
}

/** A line of the reference's log that tells of a translation, of a fault, or of the end of a DMA. */
const LINE =
  /^vtd_(?:dmar_(translate) .*iova 0x[0-9a-f]+ -> gpa 0x([0-9a-f]+) mask 0x([0-9a-f]+)|(dmar_fault|fault_disabled) |reg_read addr 0x(220) )/

/** What one DMA met: where its page is, a fault, or neither. */
export interface Traced {
  readonly page: number
  readonly mask: number
  readonly isFault: boolean
}

/** What happened in each DMA, in order. */
export function readTrace(log: string): (Traced | null)[] {
  const found: (Traced | null)[] = []
  let last: Traced | null = null
  for (const line of log.split('\n')) {
    const match = LINE.exec(line)
    if (match === null) continue
    if (match[5] !== undefined) {
      found.push(last)
      last = null
    } else if (match[1] !== undefined) {
      last = { page: Number(`0x${match[2]}`), mask: Number(`0x${match[3]}`), isFault: false }
    } else last = { page: 0, mask: 0, isFault: true }
  }
  return found
}

const PPF = 2
const FLAGS = BIT.A | BIT.D

/** How each DMA of an epoch ended in the reference. */
export function endingsOf({ cases }: Epoch, answers: readonly string[], log: string): readonly Ending[] {
  const traced = readTrace(log)
  if (traced.length !== cases.length) {
    throw new Error(`the log tells of ${traced.length} accesses, and ${cases.length} were made`)
  }
  return cases.map((own, i) => {
    const trace = traced[i]
    const isFailed = own.statusAt >= 0 && Number(answers[own.statusAt]) === TESTDEV_FAILED
    const address = trace === null ? Number(own.va) : trace.page + Number(own.va & BigInt(trace.mask))
    // A write that memory would have taken was denied by what is cached.
    const isDenied = isFailed && address < PLACE.END && !isDevice(address)
    const isOk = trace?.isFault !== true && !isDenied
    if (own.statusAt >= 0 && trace?.isFault === true && !isFailed) {
      throw new Error('a write arrived that the log says was blocked')
    }
    const fsts = Number(answers[own.fstsAt])
    return { isOk, address, isPassed: trace === null, fsts, record: recordOf(own, answers, fsts) }
  })
}

function recordOf({ fstsAt, recordAt }: Case, answers: readonly string[], fsts: number): Int32Array | null {
  if ((fsts & PPF) === 0) return null
  const lo = BigInt(answers[fstsAt + 1])
  const hi = recordAt < 0 ? 0n : BigInt(answers[fstsAt + 2])
  return Int32Array.from([lo, lo >> 32n, hi, hi >> 32n].map((half) => Number(BigInt.asIntN(32, half))))
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
  for (const { at, want, mask, what } of own.checks) {
    const got = Number(answers[at])
    if (((got ^ want) & mask) !== 0) differences.push(`${what}: ours ${hex(want)}, reference ${hex(got)}`)
  }
  const { ours } = own
  if (quirks.some(({ hides }) => hides === 'answer')) return { case: own, reference, excuses, differences }
  if (ours.isOk !== reference.isOk) differences.push(`outcome: ours ${word(ours)}, reference ${word(reference)}`)
  else if (ours.isOk && ours.address !== reference.address) {
    differences.push(`address: ours ${hex(ours.address)}, reference ${hex(reference.address)}`)
  }
  if (!quirks.some(({ hides }) => hides === 'record')) {
    if (ours.fsts !== reference.fsts) differences.push(`FSTS: ours ${hex(ours.fsts)}, reference ${hex(reference.fsts)}`)
    differences.push(...recordDifferences(ours, reference, quirks))
  }
  return { case: own, reference, excuses, differences }
}

function recordDifferences(ours: Ending, reference: Ending, quirks: Parameters<typeof comparedBits>[0]): string[] {
  const [own, theirs] = [ours.record, reference.record]
  const isSame =
    own === null || theirs === null
      ? own === theirs
      : own.every((half, i) => ((half ^ theirs[i]) & comparedBits(quirks, i)) === 0)
  return isSame ? [] : [`record: ours ${recordText(own)}, reference ${recordText(theirs)}`]
}

/** Words that excused writes may have reached, in either memory. */
function strayWords(verdicts: readonly Verdict[]): ReadonlySet<number> {
  const found = new Set<number>()
  for (const { case: own, reference, excuses } of verdicts) {
    if (!own.isWrite || excuses.length === 0) continue
    for (const { address } of [own.ours, reference]) found.add(address - (address % 8))
  }
  return found
}

/** Takes away what excused writes left in the reference's memory, for the next epoch. */
export function wipe(verdicts: readonly Verdict[], memory: Uint8Array): void {
  for (const address of strayWords(verdicts)) if (address < PLACE.END) memory.fill(0, address, address + 8)
}

/** Where both memories differ and no excuse covers it: tables, flags, status words, and what DMA stored. */
export function memoryDifference(epoch: Epoch, verdicts: readonly Verdict[], memory: Uint8Array): string {
  const stray = strayWords(verdicts)
  // A reference that walks where ours does not may set flags there.
  const flags = verdicts.some(({ excuses }) => excuses.some((name) => VTD_QUIRKS[name].hides === 'answer')) ? FLAGS : 0n
  const mayDiffer = (address: number, bits: bigint): boolean =>
    stray.has(address) || epoch.unlike.has(address) || (bits & ~flags) === 0n
  return firstDifference(epoch, memory, mayDiffer)
}

type MayDiffer = (address: number, bits: bigint) => boolean

function firstDifference({ final }: Epoch, memory: Uint8Array, mayDiffer: MayDiffer): string {
  for (const [i, page] of final.pages.entries()) {
    const at = page * 4096
    const [ours, theirs] = [Buffer.from(final.bytes.buffer, i * 4096, 4096), Buffer.from(memory.buffer, at, 4096)]
    if (ours.equals(theirs)) continue
    for (let byte = 0; byte < 4096; byte += 8) {
      const [own, other] = [ours.readBigUInt64LE(byte), theirs.readBigUInt64LE(byte)]
      if (own !== other && !mayDiffer(at + byte, own ^ other)) {
        return `memory at ${hex(at + byte)}: ours ${own.toString(16)}, reference ${other.toString(16)}`
      }
    }
  }
  return ''
}

/** What a DMA's end is called. */
export function nameOf(own: Case, { isOk, isPassed, record }: Ending): string {
  if (isOk) return isPassed ? 'passed' : 'translated'
  if (own.isPending) return 'overflowed'
  return record === null ? 'suppressed' : faultName(record[RECORD_WORDS - 1] & 0xff)
}

/** A record's two 64-bit words. */
export function recordText(record: Int32Array | null): string {
  if (record === null) return 'none'
  const word64 = (i: number): string =>
    [record[i + 1], record[i]].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('')
  return [0, 2].map(word64).join(' ')
}

/** A case in words, for whoever reruns it: what happened before, what was asked, and what both units answered. */
export function explainCase({ case: own, reference, excuses, differences }: Verdict): string {
  const side = (name: string, { isOk, address, fsts, record }: Ending): string =>
    `  ${name}: ${isOk ? `ok at ${hex(address)}` : 'abort'}, FSTS ${hex(fsts)}, record ${recordText(record)}`
  const { sid } = REQUESTERS[own.device]
  return [
    ...own.story.map((line) => `  ${line}`),
    `  ${own.isWrite ? 'write' : 'read'} of ${hex(sid)} at ${hex(Number(own.va))} (${own.va.toString(16)}) ${own.change}`,
    `  as memory stands: ${own.ends}`,
    side('ours     ', own.ours),
    side('reference', reference),
    `  excuses: ${excuses.join(' ') || 'none'}`,
    `  differences: ${differences.join('; ') || 'none'}`,
  ].join('\n')
}

const hex = (value: number): string => `0x${value.toString(16)}`
const word = ({ isOk, address }: Ending): string => (isOk ? `ok at ${hex(address)}` : 'abort')
