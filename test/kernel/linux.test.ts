/**
 * A small Linux, written from iommufd's rules alone: it answers each recording as the real kernel did, and the daemon
 * answers as it does where there is no recording: units in other modes, and calls that nobody recorded.
 */

import { describe, expect, it } from 'vitest'
import { qemuRegisters } from '../../clients/cli/transcript/qemu.js'
import type { RecordedCall, Recording } from '../../clients/cli/transcript/recording.js'
import { Rng } from '../simulation/rng.js'
import { type Beside, Linux } from './linux/kernel.js'
import { storyOf } from './linux/story.js'
import { MOCK, smmuv3, type Unit, vtd } from './linux/units.js'
import { play, recordingOf } from './replay.js'

const UNITS: readonly (readonly [string, Unit])[] = [
  ['VT-d in legacy mode', vtd({ mode: 'legacy', bits: 48n })],
  ['VT-d in legacy mode, 39 bits', vtd({ mode: 'legacy', bits: 39n })],
  ['VT-d with second stage', vtd({ mode: 'second', bits: 48n })],
  ['VT-d with second stage, 39 bits', vtd({ mode: 'second', bits: 39n })],
  ['VT-d with first stage', vtd({ mode: 'first', bits: 48n })],
  ['SMMUv3 with stage 1', smmuv3('1')],
  ['SMMUv3 with stage 2', smmuv3('2')],
  ['SMMUv3 with both stages', smmuv3('nested')],
  ['the self-test’s unit', MOCK],
]

/** Calls in a slice; a longer run takes minutes. */
const CALLS = process.env['IOMMUD_TEST_LONG'] === undefined ? 120 : 20_000

const RECORDED: readonly (readonly [string, Unit])[] = [
  ['iommufd-transcript-1', vtd({ mode: 'second', bits: 48n })],
  ['iommufd-transcript-1-arm', smmuv3('nested')],
  ['iommufd-mock-transcript-1', MOCK],
]

describe('a small Linux', () => {
  it.each(RECORDED)('answers %s as the real one did', (name, unit) => {
    expect(differences(recordingOf(name), unit)).toEqual([])
  })

  it('answers otherwise where its unit is another', () => {
    const recording = recordingOf('iommufd-transcript-1')
    expect(differences(recording, vtd({ mode: 'first', bits: 48n })).length).toBeGreaterThan(10)
  })
})

describe('registers by QEMU’s options', () => {
  it.each(RECORDED.slice(0, 2))('are those of the unit of %s', (name, { info, kind }) => {
    const recording = recordingOf(name)
    expect(recording.unit).toBe(kind)
    const registers = Object.values(qemuRegisters(recording.unit as 'vtd' | 'smmuv3', recording.iommu)).map(BigInt)
    const view = new DataView(info.buffer)
    const told = kind === 'vtd' ? [view.getBigUint64(8, true), view.getBigUint64(16, true)] : []
    for (let at = 8; kind === 'smmuv3' && at < 40; at += 4) told.push(BigInt(view.getUint32(at, true)))
    expect([...registers].sort()).toEqual([...told].sort())
  })

  it('are those of units that booted in legacy mode and with first stage only', () => {
    const legacy = qemuRegisters('vtd', 'intel-iommu,intremap=on,scalable-mode=off,aw-bits=48')
    expect(legacy).toEqual({ CAP: '0x80d2008c222f0606', ECAP: '0xf00f4a' })
    const first = qemuRegisters('vtd', 'intel-iommu,intremap=off,scalable-mode=on,fsts=on,aw-bits=48')
    expect(first).toEqual({ CAP: '0x81d2008c222f0606', ECAP: '0x880000000f42' })
    expect(qemuRegisters('smmuv3', 'arm-smmuv3,stage=2')['IDR0']).toBe('0xd441019')
    expect(qemuRegisters('smmuv3', 'arm-smmuv3,stage=1')['IDR0']).toBe('0xd44101a')
  })
})

describe('random calls', () => {
  it.each(UNITS)('on %s are answered by the daemon as by the small Linux', { timeout: 600_000 }, async (_, unit) => {
    const recording = storyOf(unit, new Rng(UNITS.findIndex((each) => each[1] === unit) + 1), CALLS)
    const done = recording.calls.filter(({ errno }) => errno === 0).length
    expect(done).toBeGreaterThan(CALLS / 20)
    const { mismatches, matched } = await play(recording)
    expect(mismatches.slice(0, 5)).toEqual([])
    expect(matched).toBe(recording.calls.length)
  })
})

const FILES_THAT_COME_OUT = ['FAULT_QUEUE_ALLOC', 'VEVENTQ_ALLOC']

/** How the small Linux differs from a recording. */
function differences({ calls }: Recording, unit: Unit): string[] {
  const linux = new Linux(unit)
  const found: string[] = []
  for (const line of calls) {
    if (line.call === 'open') linux.open(line.fd)
    else if (line.call === 'close') linux.close(line.fd)
    else if (!isAlike(linux, line)) found.push(`${line.n} ${line.call} ${Buffer.from(line.input).toString('hex')}`)
  }
  return found
}

function isAlike(linux: Linux, line: RecordedCall): boolean {
  const { memory } = line
  const beside: Beside | undefined = memory && { address: memory.address, bytes: memory.before }
  const answer = linux.ioctl(line.fd, line.command, line.input, beside)
  if (answer.errno !== line.errno) return false
  const isAsItWas = memory === undefined || Buffer.compare(answer.memory!, memory.after) === 0
  // The number of a new file is the process's own.
  const isFile = FILES_THAT_COME_OUT.includes(line.call)
  return isAsItWas && (isFile || Buffer.compare(answer.struct, line.output) === 0)
}
