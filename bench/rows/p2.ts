/** P2: a hit where maps are sparse. */

import { flatC, lookUp, RUNNER, ratio } from '../lookups.js'
import type { Row } from '../row.js'

export const row: Row = {
  id: 'P2',
  what: 'cache hit in sparse maps, one 4K page in each 2M, 4K to 64K resident, random, zipf and sequential',
  async run(bench) {
    const residents = bench.quick ? [16_384] : [4096, 16_384, 65_536]
    const found = await lookUp(bench, residents, ['random', 'zipf', 'sequential'], { isSparse: true })
    const missing = found.missing[RUNNER.SECTORS]
    const bounds = { must: { atMost: 2.5 }, should: { atMost: 2 }, missing }
    return {
      criteria: [
        { name: 'SMMUv3 TLB / flat C', measured: ratio(found, (ns) => ns[RUNNER.TLB], flatC), ...bounds },
        { name: 'VT-d IOTLB / flat C', measured: ratio(found, (ns) => ns[RUNNER.IOTLB], flatC), ...bounds },
      ],
      detail: { ns: found.times },
    }
  },
}
