/** The daemon answers what a real kernel answered. */

import { describe, expect, it } from 'vitest'
import { EXCUSES } from '../../clients/cli/transcript/excuses.js'
import { excusedCount, holds } from '../../clients/cli/transcript/verify.js'
import { play, playChanged, recordingOf } from './replay.js'

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

describe('a recording with one answer changed', () => {
  const recording = recordingOf('iommufd-transcript-1-arm')
  const indexOf = (call: string): number =>
    recording.calls.findIndex(
      (line) => line.call === call && line.errno === 0 && Buffer.compare(line.input, line.output) !== 0,
    )
  const count = async (call: string, change: Parameters<typeof playChanged>[2]): Promise<number> =>
    (await playChanged(recording, indexOf(call), change)).mismatches.length
  const flip = (bytes: Uint8Array, at: number): Uint8Array => bytes.with(at, bytes[at] ^ 1)

  const CALLS = ['IOAS_MAP', 'IOAS_UNMAP', 'HWPT_ALLOC', 'VIOMMU_ALLOC', 'VEVENTQ_ALLOC', 'VFIO_DEVICE_BIND_IOMMUFD']
  it.each(CALLS)('does not match: %s', { timeout: 60_000 }, async (call) => {
    expect(await count(call, () => ({}))).toBe(0)
    expect(await count(call, () => ({ errno: 22, result: -1n }))).toBe(1)
    expect(await count(call, () => ({ result: 1n }))).toBe(1)
    expect(await count(call, ({ output }) => ({ output: flip(output, 8) }))).toBe(1)
  })

  it('does not match in the memory that a call filled, nor in what it left alone', { timeout: 60_000 }, async () => {
    for (const at of [0, -1]) {
      const changed = await count('IOAS_IOVA_RANGES', ({ memory }) => ({
        memory: { ...memory!, after: flip(memory!.after, at === 0 ? 0 : memory!.after.length - 1) },
      }))
      expect(changed).toBe(1)
    }
  })

  it('matches whatever number the descriptor of a new queue has, and nothing that is no descriptor', async () => {
    const descriptor = (value: number) => {
      const change: Parameters<typeof playChanged>[2] = ({ output }) => {
        const other = output.slice()
        new DataView(other.buffer).setUint32(12, value, true)
        return { output: other }
      }
      return count('FAULT_QUEUE_ALLOC', change)
    }
    expect([await descriptor(77), await descriptor(0), await descriptor(0xffffffff)]).toEqual([0, 1, 1])
  })
})
