/** Core answers what a real kernel answered. */

import { afterAll, describe, expect, it } from 'vitest'
import { IOMMU_CALLS } from './calls.js'
import { machineOf } from './machine.js'
import { mockCalls } from './mock-calls.js'
import { MockMachine } from './mock-driver.js'
import { Replay } from './replay.js'
import { type Tally, tableOf } from './rules.js'
import { type Line, readTranscript, type Transcript } from './transcript.js'
import { vfioCalls } from './vfio-calls.js'

const tallies = new Map<string, Tally>()

afterAll(() => console.log(tableOf(tallies)))

describe('a recording of Linux on', () => {
  it.each([
    ['VT-d', 'iommufd-transcript-1'],
    ['SMMUv3', 'iommufd-transcript-1-arm'],
  ])('%s is answered alike by core and its driver', (unit, name) => {
    const transcript = readTranscript(name)
    const { machine, devices, excuse } = machineOf(transcript)
    play(unit, transcript, new Replay(machine, devices, { ...IOMMU_CALLS, ...vfioCalls(excuse) }))
  })

  it('its self-test device is answered alike by core', () => {
    const machine = new MockMachine()
    play('mock', readTranscript('iommufd-mock-transcript-1'), new Replay(machine, new Map(), mockCalls(machine)))
  })
})

describe('a recording with one answer changed', () => {
  const transcript = readTranscript('iommufd-transcript-1-arm')
  const changed = (call: string, change: (line: Line) => Partial<Line>): readonly string[] => {
    const at = transcript.lines.findIndex((line) => line.call === call && line.errno === 0 && line.out !== undefined)
    const lines = transcript.lines.slice(0, at + 1)
    lines[at] = { ...lines[at], ...change(lines[at]) }
    const { machine, devices, excuse } = machineOf(transcript)
    return new Replay(machine, devices, { ...IOMMU_CALLS, ...vfioCalls(excuse) }).play({ ...transcript, lines })
      .differences
  }

  it.each(['IOAS_MAP', 'IOAS_UNMAP', 'IOAS_COPY', 'HWPT_ALLOC', 'VIOMMU_ALLOC', 'VFIO_DEVICE_ATTACH_IOMMUFD_PT'])(
    'is not answered alike: %s',
    (call) => {
      expect(changed(call, () => ({ errno: 22 }))).toHaveLength(1)
      expect(changed(call, ({ out }) => ({ out: `${out!.slice(0, 8)}ffff${out!.slice(12)}` }))).toHaveLength(1)
      expect(changed(call, () => ({}))).toEqual([])
    },
  )

  it('is not answered alike in the memory that a call filled', () => {
    expect(changed('IOAS_IOVA_RANGES', ({ mem_out }) => ({ mem_out: `ff${mem_out!.slice(2)}` }))).toHaveLength(1)
  })
})

function play(name: string, transcript: Transcript, replay: Replay): void {
  const tally = replay.play(transcript)
  tallies.set(name, tally)
  expect(tally.differences.slice(0, 20)).toEqual([])
  expect(replay.end()).toEqual([])
  expect(tally.compared + tally.skippedCount).toBe(transcript.lines.length)
}
