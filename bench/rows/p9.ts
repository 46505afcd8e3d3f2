/** What a translation costs the daemon's process through its socket, against the same in this process. */

import { readdirSync, readFileSync } from 'node:fs'
import { medianOf } from '../measure.js'
import { type Criterion, Missing, type Row } from '../row.js'
import { overTheSocket } from '../socket.js'

const SIZE = 1024
/** Translations of one turn; a turn in process is as many. */
const MESSAGES = 400
/** Messages before the first turn: the daemon compiles what it does often, and some of it once a message. */
const WARM_MESSAGES = 8000
/** Of a quick run; it is not all compiled then. */
const FEW_WARM_MESSAGES = 2500

export const row: Row = {
  id: 'P9',
  what: 'server CPU of a translation, at 1,024 a message over HTTP on the Unix socket, against one in process',
  async run(bench) {
    const { contenders, inProcess, stop, pid } = await overTheSocket([SIZE], SIZE)
    try {
      const messages = bench.quick ? MESSAGES / 4 : MESSAGES
      const [socket] = contenders
      await socket.run(bench.quick ? FEW_WARM_MESSAGES : WARM_MESSAGES)
      await inProcess.run(messages)
      const [served, alone]: [number[], number[]] = [[], []]
      for (let turn = 0; turn < bench.turns; turn++) {
        const before = cpuOf(pid)
        await socket.run(messages)
        served.push((cpuOf(pid) - before) / (messages * SIZE))
        const began = cpuOf(process.pid)
        await inProcess.run(messages)
        alone.push((cpuOf(process.pid) - began) / (messages * inProcess.operations))
      }
      const [server, here] = [served, alone].map((ns) => medianOf(ns.sort((a, b) => a - b)))
      const criteria: Criterion[] = [
        { name: 'over HTTP', measured: server / here, must: { atMost: 5 }, should: { atMost: 3 } },
      ]
      return { criteria, detail: { 'server ns': server, 'in process ns': here, turns: bench.turns } }
    } finally {
      await stop()
    }
  },
}

/** CPU time of all threads of a process, those that collect garbage included, in nanoseconds. */
function cpuOf(pid: number): number {
  const folder = `/proc/${pid}/task`
  try {
    const times = readdirSync(folder).map((thread) => readFileSync(`${folder}/${thread}/schedstat`, 'utf8'))
    return times.reduce((sum, time) => sum + Number(time.split(' ')[0]), 0)
  } catch (error) {
    throw new Missing(`the system does not tell what a process has cost: ${String(error)}`)
  }
}
