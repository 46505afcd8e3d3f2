/** P1: a hit. */

import { flatC, flatCById, lookUp, of, plansOf, RUNNER, ratio } from '../lookups.js'
import type { Row } from '../row.js'

const { TLB, IOTLB, SECTORS, QEMU_SMMU, QEMU_VTD } = RUNNER
/** How much faster than QEMU's VT-d a hit is to be. */
const BY_VTD = 3.5

const C = { must: { atMost: 2.2 }, should: { atMost: 1.6 } }

export const row: Row = {
  id: 'P1',
  what: 'cache hit: rights checked, eviction armed, 4K to 64K resident, mixed 4K/2M, random, zipf and sequential',
  async run(bench) {
    const residents = bench.quick ? [16_384] : [4096, 16_384, 65_536]
    const { times, missing } = await lookUp(bench, plansOf(residents, ['random', 'zipf', 'sequential']))
    const [smmu, vtd] = [ratio(times, of(QEMU_SMMU), of(TLB)), ratio(times, of(QEMU_VTD), of(IOTLB))]
    // What the flat C limit comes to, beside which ours is to be seen.
    const [smmuOfC, vtdOfC] = [ratio(times, of(QEMU_SMMU), flatC), ratio(times, of(QEMU_VTD), flatCById)]
    return {
      criteria: [
        { name: 'SMMUv3 TLB / flat C', measured: ratio(times, of(TLB), flatC), ...C, missing: missing[SECTORS] },
        { name: 'VT-d IOTLB / flat C', measured: ratio(times, of(IOTLB), flatCById), ...C, missing: missing[SECTORS] },
        { name: 'QEMU SMMUv3 style / SMMUv3 TLB', measured: smmu, must: { atLeast: 9 }, missing: missing[QEMU_SMMU] },
        { name: 'QEMU VT-d style / VT-d IOTLB', measured: vtd, must: { atLeast: BY_VTD }, missing: missing[QEMU_VTD] },
      ],
      detail: { ns: times, 'QEMU SMMUv3 style / flat C': smmuOfC, 'QEMU VT-d style / flat C': vtdOfC },
      ...limitOf(vtdOfC),
    }
  },
}

/** Said where not even C has the distance from QEMU's way that is asked of ours. */
const limitOf = (vtdOfC: number | null): { limit?: string } =>
  vtdOfC === null || vtdOfC >= BY_VTD
    ? {}
    : { limit: `flat C, which finds the requester too, is ${vtdOfC.toFixed(1)} times faster than QEMU VT-d style here` }
