/** The daemon answers what a real kernel answered. */

import { describe, expect, it } from 'vitest'
import { EXCUSES } from '../../clients/cli/transcript/excuses.js'
import { machineOf } from '../../clients/cli/transcript/machine.js'
import type { RecordedCall } from '../../clients/cli/transcript/recording.js'
import { excusedCount, holds } from '../../clients/cli/transcript/verify.js'
import { play, recordingOf } from './replay.js'

const RECORDINGS = ['iommufd-transcript-1', 'iommufd-transcript-1-arm', 'iommufd-mock-transcript-1'] as const

describe('a recording of a real kernel', () => {
  it.each(RECORDINGS)('%s is answered alike, errno, struct and memory', { timeout: 60_000 }, async (name) => {
    const recording = recordingOf(name)
    const result = await play(recording)
    expect(result.mismatches.slice(0, 5)).toEqual([])
    expect(holds(result)).toBe(true)
    expect(result.matched + excusedCount(result)).toBe(recording.calls.length)
    // Fewer than the allowed share, and by the one rule: what is excused is known, not only counted.
    const [ILLEGAL] = EXCUSES
    expect(excusedCount(result)).toBe(name === 'iommufd-transcript-1-arm' ? 2 : 0)
    expect(result.excused.get(ILLEGAL)).toBe(excusedCount(result))
  })
})

describe('a recording with some answers changed', () => {
  const recording = recordingOf('iommufd-transcript-1-arm')
  const flip = (bytes: Uint8Array, at: number): Uint8Array => bytes.with(at, bytes[at] ^ 1)
  const withWord = (bytes: Uint8Array, at: number, value: number): Uint8Array => {
    const changed = bytes.slice()
    new DataView(changed.buffer).setUint32(at, value, true)
    return changed
  }
  type Change = (line: RecordedCall) => Partial<RecordedCall>
  const ANSWERS: readonly Change[] = [
    () => ({ errno: 22, result: -1n }),
    () => ({ result: 1n }),
    ({ output }) => ({ output: flip(output, 8) }),
  ]
  const MEMORY: readonly Change[] = [
    ({ memory }) => ({ memory: { ...memory!, after: flip(memory!.after, 0) } }),
    ({ memory }) => ({ memory: { ...memory!, after: flip(memory!.after, memory!.after.length - 1) } }),
  ]
  const NO_DESCRIPTOR: readonly Change[] = [0, 0xffffffff].map((value) => ({ output }) => ({
    output: withWord(output, 12, value),
  }))
  const OTHER_DESCRIPTOR: Change = ({ output }) => ({ output: withWord(output, 12, 77) })
  const CALLS = ['IOAS_MAP', 'IOAS_UNMAP', 'HWPT_ALLOC', 'VIOMMU_ALLOC', 'VEVENTQ_ALLOC', 'VFIO_DEVICE_BIND_IOMMUFD']

  it('differs in each of them and in no other; a descriptor has any number', { timeout: 60_000 }, async () => {
    const calls = [...recording.calls]
    const changed: number[] = []
    /** Each change at the next successful call of that name that wrote its struct. */
    const change = (call: string, changes: readonly Change[]): readonly number[] => {
      const places = calls.filter(
        (line) => line.call === call && line.errno === 0 && Buffer.compare(line.input, line.output) !== 0,
      )
      expect(places.length).toBeGreaterThanOrEqual(changes.length)
      return changes.map((how, index) => {
        const { n } = places[index]
        calls[n] = { ...calls[n], ...how(calls[n]) }
        return n
      })
    }
    for (const call of CALLS) changed.push(...change(call, ANSWERS))
    changed.push(...change('IOAS_IOVA_RANGES', MEMORY))
    const faultQueues = change('FAULT_QUEUE_ALLOC', [...NO_DESCRIPTOR, OTHER_DESCRIPTOR])
    changed.push(...faultQueues.slice(0, 2))
    const { mismatches } = await play({ ...recording, calls }, machineOf(recording))
    expect(mismatches.map(({ line }) => line.n)).toEqual(changed.sort((a, b) => a - b))
  })
})
