/** P10: what real guests did. */

import { nsOf } from '../measure.js'
import type { Peer } from '../peer.js'
import { IotlbReplay, type Replayer, TlbReplay } from '../replay.js'
import { type Bench, type Criterion, type Detail, Missing, type Row } from '../row.js'
import { readTrace, type Trace, tracesFolder } from '../traces.js'
import { withFiles } from '../work.js'

const GUESTS = [
  { name: 'A', source: 'qemu-smmu', replayer: (trace: Trace): Replayer => new TlbReplay(trace) },
  { name: 'F', source: 'qemu-vtd', replayer: (trace: Trace): Replayer => new IotlbReplay(trace) },
] as const

export const row: Row = {
  id: 'P10',
  what: 'every DMA and every invalidation of two real guests, in order: an IOTLB built QEMU’s way against ours',
  async run(bench) {
    const found: { criterion: Criterion; detail: Detail }[] = []
    for (const guest of GUESTS) found.push(await oneGuest(bench, guest))
    return {
      criteria: found.map(({ criterion }) => criterion),
      detail: { whole: process.env['IOMMUD_CAPTURES'] !== undefined, guests: found.map(({ detail }) => detail) },
    }
  },
}

async function oneGuest(bench: Bench, { name, source, replayer }: (typeof GUESTS)[number]) {
  const trace = readTrace(name, tracesFolder())
  const rows = trace.dmas + trace.commands
  const ours = replayer(trace)
  const first = ours.replay()
  if (first !== trace.sum)
    throw new Error(`guest ${name}: addresses sum to ${first}, the recorded ones to ${trace.sum}`)
  const { misses } = ours
  const run = (rounds: number): number => {
    let sum = 0
    for (let round = 0; round < rounds; round++) sum = (sum + ours.replay()) % 2 ** 32
    return sum
  }
  return withFiles(async (write) => {
    let peer: Peer | null = null
    let missing: string | undefined
    try {
      peer = await bench.peer(source, ['trace', write('trace', Int32Array.of(rows), trace.rows)])
    } catch (error) {
      if (!(error instanceof Missing)) throw error
      missing = error.message
    }
    const theirs = peer === null ? [] : [peer.contender('QEMU', rows)]
    const timings = await bench.race([{ name: 'ours', operations: rows, run }, ...theirs])
    peer?.stop()
    const oursNs = nsOf(timings, 'ours')
    const theirsNs = peer === null ? null : nsOf(timings, 'QEMU')
    bench.say(
      `guest ${name}: ours ${oursNs.toFixed(1)} ns a row, QEMU's way ${theirsNs?.toFixed(1) ?? '?'}, ${misses} misses`,
    )
    const measured = theirsNs === null ? null : theirsNs / oursNs
    return {
      criterion: { name: `guest ${name}: QEMU’s way / ours`, measured, must: { atLeast: 3 }, missing },
      detail: { name, dmas: trace.dmas, commands: trace.commands, misses, oursNs, theirsNs },
    }
  })
}
