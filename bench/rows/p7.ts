/** The map of an IOAS's areas, beside Rust's BTreeMap and std::map. */

import { IntervalMap } from '../../server/core/interval-map.js'
import { type KeyedAreas, keyedAddresses, keyedAreas } from '../area-keys.js'
import { cpuNs } from '../clock.js'
import { type Contender, nsOf, type Timing, type Turn } from '../measure.js'
import type { Bench, Criterion, Row } from '../row.js'

const WORKS = ['insert', 'lookup', 'remove'] as const
type Work = (typeof WORKS)[number]

export const row: Row = {
  id: 'P7',
  what: 'the map of an IOAS’s areas against Rust’s BTreeMap, std::map beside it: bytes anywhere in 64 bits',
  async run(bench) {
    const criteria: Criterion[] = []
    const told: Criterion[] = []
    const detail: Record<string, unknown> = {}
    for (const count of bench.quick ? [100_000] : [100_000, 1_000_000]) {
      const areas = keyedAreas(count)
      const works = ours(areas)
      const peers = { btree: await bench.peer('areas-btree', [count]), std: await bench.peer('areas-stdmap', [count]) }
      for (const work of WORKS) {
        const name = `${work} ${count}`
        bench.say(name)
        const contenders = [
          { name: 'ours', operations: count, run: works[work] },
          peers.btree.contender('BTreeMap', count, work),
          peers.std.contender('std::map', count, work),
          ...(work === 'insert' ? [peers.btree.contender('BTreeMap, blind', count, 'blind')] : []),
        ]
        const timings = await race(bench, contenders)
        const measured = nsOf(timings, 'ours') / nsOf(timings, 'BTreeMap')
        criteria.push({ name: `${name} / BTreeMap`, measured, must: { atMost: 1.2 }, should: { atMost: 1 } })
        if (work === 'insert') {
          const blind = nsOf(timings, 'ours') / nsOf(timings, 'BTreeMap, blind')
          told.push({ name: `${name} / BTreeMap that looks at no other area first`, measured: blind })
        }
        detail[name] = Object.fromEntries(timings.map(({ name, medianNs }) => [`${name} ns`, Math.round(medianNs)]))
      }
      peers.btree.stop()
      peers.std.stop()
    }
    // The worst stands in the table.
    criteria.sort((a, b) => (b.measured as number) - (a.measured as number))
    return { criteria: [...criteria, ...told], detail }
  },
}

/** One round is a turn already. */
const race = (bench: Bench, contenders: readonly Contender[]): Promise<readonly Timing[]> =>
  bench.race(contenders, { turnMs: bench.quick ? 1 : 100 })

/** As the peers: a map's end is not timed, and a removal's building neither. */
function ours(areas: KeyedAreas): Record<Work, (rounds: number) => Turn> {
  const addresses = keyedAddresses(areas)
  const whole = build(areas)
  return {
    insert: (rounds) => summed(rounds, () => insertions(areas)),
    lookup: (rounds) => summed(rounds, () => lookups(whole, addresses)),
    remove: (rounds) => summed(rounds, () => removals(areas)),
  }
}

function summed(rounds: number, once: () => Turn): Turn {
  let [ns, sum] = [0, 0]
  for (let round = 0; round < rounds; round++) {
    const turn = once()
    ns += turn.ns
    sum = (sum + turn.sum) >>> 0
  }
  return { ns, sum }
}

function build(areas: KeyedAreas): IntervalMap<number> {
  const { starts, lasts, ids } = areas
  const map = new IntervalMap<number>()
  for (let i = 0; i < ids.length; i++) map.insert(starts[i], lasts[i], ids[i])
  return map
}

function insertions(areas: KeyedAreas): Turn {
  const began = cpuNs()
  const map = build(areas)
  return { ns: cpuNs() - began, sum: map.size }
}

function lookups(map: IntervalMap<number>, addresses: BigUint64Array): Turn {
  let sum = 0
  const began = cpuNs()
  for (let i = 0; i < addresses.length; i++) {
    const found = map.firstIn(addresses[i], addresses[i])
    sum = mix(sum, found === undefined ? 0 : found + 1)
  }
  return { ns: cpuNs() - began, sum: sum >>> 0 }
}

function removals(areas: KeyedAreas): Turn {
  const map = build(areas)
  let sum = 0
  const began = cpuNs()
  const { starts, ids } = areas
  for (let i = 0; i < ids.length; i++) {
    map.remove(starts[i], ids[i])
    sum = mix(sum, ids[i])
  }
  return { ns: cpuNs() - began, sum: sum >>> 0 }
}

const mix = (sum: number, value: number): number => Math.imul(sum ^ value, 0x0100_0193)
