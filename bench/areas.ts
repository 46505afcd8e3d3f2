/** What a million areas of an address space cost each other: the map that finds them, beside one of a thousand. */

import { IntervalMap } from '../server/core/interval-map.js'
import type { Contender } from './measure.js'

interface Area {
  readonly start: bigint
  readonly last: bigint
}

const PAGE = 4096n
const FEW = 1000
const MANY = 1_000_000
/** Prime to both, so that every part of a map is met. */
const STRIDE = 37_633

/** Contenders in pairs: of a small map, and of a large one. */
export function areaMaps(): readonly (readonly [few: Contender, many: Contender])[] {
  const [few, many] = [FEW, MANY].map(mapOf)
  return [
    [finding('area-find few', few), finding('area-find', many)],
    [changing('area-change few', few), changing('area-change', many)],
    [searching('area-hole few', few), searching('area-hole', many)],
  ]
}

/** Areas of one page, each pair with a page between its two, and none between pairs. */
function mapOf(count: number) {
  const map = new IntervalMap<Area>()
  const areas = Array.from({ length: count }, (_, i) => {
    const start = BigInt(Math.floor(i / 2) * 3 + (i % 2) * 2) * PAGE
    return { start, last: start + PAGE - 1n }
  })
  for (let i = 0; i < count; i++) insert(map, areas[(i * STRIDE) % count])
  return { map, areas, end: areas[count - 1].last }
}

const insert = (map: IntervalMap<Area>, area: Area): void => map.insert(area.start, area.last, area)

type Filled = ReturnType<typeof mapOf>

const BATCH = 1000

function finding(name: string, { map, areas }: Filled): Contender {
  return overAll(name, areas, (area) => Number(map.firstFrom(area.start)?.last ?? 0n) % 7)
}

function changing(name: string, { map, areas }: Filled): Contender {
  return overAll(name, areas, (area) => {
    map.remove(area.start, area)
    insert(map, area)
    return 1
  })
}

/** The lowest hole of two pages is beyond all areas: the search that looks at most. One removal opens another. */
function searching(name: string, { map, areas, end }: Filled): Contender {
  return overAll(name, areas, (area) => {
    map.remove(area.start, area)
    const hole = map.hole(0n, end + 2n * PAGE, 2n * PAGE)
    insert(map, area)
    if (hole === undefined) throw new Error('a removal opens a hole')
    return map.hole(0n, end + 2n * PAGE, 2n * PAGE)?.start === end + 1n ? 1 : 2
  })
}

function overAll(name: string, areas: readonly Area[], action: (area: Area) => number): Contender {
  let at = 0
  return {
    name,
    operations: BATCH,
    run(rounds) {
      let sum = 0
      for (let i = 0; i < rounds * BATCH; i++) {
        at = (at + STRIDE) % areas.length
        sum += action(areas[at])
      }
      return sum
    },
  }
}
