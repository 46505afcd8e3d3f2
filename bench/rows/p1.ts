/** P1: a hit. */

import { flatC, flatCById, lookUp, of, plansOf, RUNNER, ratio } from '../lookups.js'
import type { Row } from '../row.js'

const { TLB, IOTLB, SECTORS, QEMU_SMMU, QEMU_VTD } = RUNNER
const C = { must: { atMost: 2.2 }, should: { atMost: 1.6 } }

export const row: Row = {
  id: 'P1',
  what: 'cache hit: rights checked, eviction armed, 4K to 64K resident, mixed 4K/2M, random, zipf and sequential',
  async run(bench) {
    const residents = bench.quick ? [16_384] : [4096, 16_384, 65_536]
    const { times, missing } = await lookUp(bench, plansOf(residents, ['random', 'zipf', 'sequential']))
    const [smmu, vtd] = [ratio(times, of(QEMU_SMMU), of(TLB)), ratio(times, of(QEMU_VTD), of(IOTLB))]
    return {
      criteria: [
        { name: 'SMMUv3 TLB / flat C', measured: ratio(times, of(TLB), flatC), ...C, missing: missing[SECTORS] },
        { name: 'VT-d IOTLB / flat C', measured: ratio(times, of(IOTLB), flatCById), ...C, missing: missing[SECTORS] },
        { name: 'QEMU SMMUv3 style / SMMUv3 TLB', measured: smmu, must: { atLeast: 9 }, missing: missing[QEMU_SMMU] },
        { name: 'QEMU VT-d style / VT-d IOTLB', measured: vtd, must: { atLeast: 3.5 }, missing: missing[QEMU_VTD] },
      ],
      detail: { ns: times },
    }
  },
}
