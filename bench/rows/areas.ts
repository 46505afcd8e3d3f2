/** A million areas of an address space, beside a thousand. */

import { areaMaps } from '../areas.js'
import { nsOf } from '../measure.js'
import type { Criterion, Row } from '../row.js'

export const row: Row = {
  id: 'areas',
  what: 'the map of an IOAS’s areas: one of a million, against one of a thousand',
  async run(bench) {
    const criteria: Criterion[] = []
    for (const [few, many] of areaMaps()) {
      const timings = await bench.race([few, many], { agree: false })
      criteria.push({ name: many.name, measured: nsOf(timings, many.name) / nsOf(timings, few.name) })
    }
    return { criteria, detail: {} }
  },
}
