/** Translations over the socket at several message sizes, beside the same unit in process. */

import { nsOf } from '../measure.js'
import type { Row } from '../row.js'
import { overTheSocket } from '../socket.js'

export const row: Row = {
  id: 'socket',
  what: 'a translation over the socket, by translations a message, against one in process',
  async run(bench) {
    const { contenders, inProcess, stop } = await overTheSocket([1, 64, 1024], 2048)
    try {
      const timings = await bench.race([inProcess, ...contenders], { agree: false, isWall: true })
      const hit = nsOf(timings, inProcess.name)
      const criteria = contenders.map(({ name }) => ({ name, measured: nsOf(timings, name) / hit }))
      return { criteria: criteria.reverse(), detail: { timings } }
    } finally {
      await stop()
    }
  },
}
