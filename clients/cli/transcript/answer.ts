/** What the daemon answered to one recorded call, and how that differs from what the kernel did. */

import type { RecordedCall } from './recording.js'
import { descriptorPlaces, putWord, wordAt } from './uapi.js'

/** The daemon's answer. */
export interface Answer {
  readonly errno: number
  /** Why, in the daemon's words; empty without an errno. */
  readonly reason: string
  readonly result: bigint
  /** The struct afterwards, as far as the recording has it, with descriptors as the recorder numbered them. */
  readonly output: Uint8Array
  /** The memory beside it afterwards; undefined where the recording has none. */
  readonly memory: Uint8Array | undefined
}

/** How an answer differs, in words; undefined when it does not. */
export function differenceOf(line: RecordedCall, answer: Answer): string | undefined {
  if (answer.errno !== line.errno) {
    const why = answer.reason === '' ? '' : ` (${answer.reason})`
    return `errno ${answer.errno}${why}, the kernel's ${line.errno}`
  }
  const { result, ...places } = descriptorPlaces(line.command, line.input)
  const bothOpened = result === true && answer.result >= 0n && line.result >= 0n
  if (answer.result !== line.result && !bothOpened) return `result ${answer.result}, the kernel's ${line.result}`
  const output = places.out === undefined ? answer.output : renumbered(answer, line, places.out)
  if (!sameBytes(output, line.output)) return `struct ${hexOf(output)}, the kernel's ${hexOf(line.output)}`
  if (line.memory !== undefined && answer.memory !== undefined && !sameBytes(answer.memory, line.memory.after)) {
    return `memory ${hexOf(answer.memory)}, the kernel's ${hexOf(line.memory.after)}`
  }
  return undefined
}

/** Two descriptors that came out are the same file under two numbers; anything else stays as it is. */
function renumbered(answer: Answer, line: RecordedCall, at: number): Uint8Array {
  const output = answer.output.slice()
  const [ours, theirs] = [wordAt(output, at), wordAt(line.output, at)]
  const isFile = (word: number | undefined): word is number => word !== undefined && word > 0 && word < 2 ** 31
  if (line.errno === 0 && isFile(ours) && isFile(theirs)) putWord(output, at, theirs)
  return output
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

const hexOf = (bytes: Uint8Array): string => (bytes.length === 0 ? 'empty' : Buffer.from(bytes).toString('hex'))
