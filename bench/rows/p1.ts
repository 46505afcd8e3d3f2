/** P1: a hit. */

import { flatC, type Lookups, lookUp, RUNNER, ratio } from '../lookups.js'
import type { Criterion, Row } from '../row.js'

export const row: Row = {
  id: 'P1',
  what: 'cache hit: rights checked, eviction armed, 4K to 64K resident, mixed 4K/2M, random, zipf and sequential',
  async run(bench) {
    const residents = bench.quick ? [16_384] : [4096, 16_384, 65_536]
    const found = await lookUp(bench, residents, ['random', 'zipf', 'sequential'])
    const { TLB, IOTLB, QEMU_SMMU, QEMU_VTD } = RUNNER
    const [tlb, iotlb] = [TLB, IOTLB].map((name) => (ns: Readonly<Record<string, number>>) => ns[name])
    return {
      criteria: [
        asked('SMMUv3 TLB / flat C', ratio(found, tlb, flatC), found, RUNNER.SECTORS, 2.2, 1.6),
        asked('VT-d IOTLB / flat C', ratio(found, iotlb, flatC), found, RUNNER.SECTORS, 2.2, 1.6),
        faster(
          'QEMU SMMUv3 style / SMMUv3 TLB',
          ratio(found, (ns) => ns[QEMU_SMMU], tlb),
          found,
          QEMU_SMMU,
          9,
        ),
        faster(
          'QEMU VT-d style / VT-d IOTLB',
          ratio(found, (ns) => ns[QEMU_VTD], iotlb),
          found,
          QEMU_VTD,
          3.5,
        ),
      ],
      detail: { ns: found.times },
    }
  },
}

function asked(
  name: string,
  measured: number | null,
  { missing }: Lookups,
  peer: string,
  must: number,
  should: number,
): Criterion {
  return { name, measured, must: { atMost: must }, should: { atMost: should }, missing: missing[peer] }
}

function faster(name: string, measured: number | null, { missing }: Lookups, peer: string, must: number): Criterion {
  return { name, measured, must: { atLeast: must }, missing: missing[peer] }
}
