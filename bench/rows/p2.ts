/** P2: a hit where maps are sparse. */

import { flatC, flatCById, lookUp, of, plansOf, RUNNER, ratio, WITHOUT_QEMU } from '../lookups.js'
import type { Row } from '../row.js'

const { TLB, IOTLB, SECTORS } = RUNNER
const C = { must: { atMost: 2.5 }, should: { atMost: 2 } }

export const row: Row = {
  id: 'P2',
  what: 'cache hit in sparse maps, one 4K page in each 2M, 4K to 64K resident, random, zipf and sequential',
  async run(bench) {
    const residents = bench.quick ? [16_384] : [4096, 16_384, 65_536]
    const plans = plansOf(residents, ['random', 'zipf', 'sequential'], { isSparse: true })
    const { times, missing } = await lookUp(bench, plans, WITHOUT_QEMU)
    return {
      criteria: [
        { name: 'SMMUv3 TLB / flat C', measured: ratio(times, of(TLB), flatC), ...C, missing: missing[SECTORS] },
        { name: 'VT-d IOTLB / flat C', measured: ratio(times, of(IOTLB), flatCById), ...C, missing: missing[SECTORS] },
      ],
      detail: { ns: times },
    }
  },
}
