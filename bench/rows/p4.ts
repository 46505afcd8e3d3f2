/**
 * P4: a whole miss through `translate()`, beside the same steps in C: a look-up that misses, four levels or the 24 loads of
 * a nested walk, permission, fill with eviction. Walk caches are off, and the tables stand in a mapped file.
 */

import { nsOf } from '../measure.js'
import { type Fleet, type FleetOptions, randomRequests, send } from '../pipeline/fleet.js'
import { smmuFleet } from '../pipeline/smmu-fleet.js'
import { vtdFleet } from '../pipeline/vtd-fleet.js'
import { type Bench, type Criterion, Missing, type Row } from '../row.js'

const REQUESTERS = 16
/** Of each, with 2,048 leaf tables among all. */
const PAGES = 2 ** 16
/** One request in 256 hits. */
const ENTRIES = 4096
const REQUESTS = 2 ** 15

const C = 'C'
const NAME = { SMMU: 'SMMUv3', VTD: 'VT-d' } as const

/** The row. */
export const row: Row = {
  id: 'P4',
  what: 'a whole miss, against the same steps in C',
  async run(bench) {
    const single = await race(bench, false)
    const nested = await race(bench, true)
    return {
      criteria: [
        ...criteria(single, { atMost: 4 }, { atMost: 3 }),
        ...criteria(nested, { atMost: 2.5 }, { atMost: 1.8 }),
      ],
      detail: { 'single ns': single.ns, 'nested ns': nested.ns },
    }
  },
}

interface Found {
  readonly kind: string
  readonly ns: Readonly<Record<string, number>>
  readonly missing?: string
}

async function race(bench: Bench, nested: boolean): Promise<Found> {
  const kind = nested ? 'nested' : 'single-stage'
  const options: FleetOptions = {
    requesters: REQUESTERS,
    pages: PAGES,
    entries: ENTRIES,
    ownTables: REQUESTERS,
    nested,
  }
  const requests = randomRequests(REQUESTS, REQUESTERS, PAGES)
  const ours = (name: string, fleet: Fleet) => ({
    name,
    operations: REQUESTS,
    run: (rounds: number) => send(fleet, requests, rounds),
  })
  const contenders = [ours(NAME.SMMU, smmuFleet(options)), ours(NAME.VTD, vtdFleet(options))]
  const { peer, missing } = await walkInC(bench)
  const all =
    peer === undefined ? contenders : [...contenders, peer.contender(C, REQUESTS, nested ? 'nested' : 'single')]
  const timings = await bench.race(all)
  const ns = Object.fromEntries(timings.map(({ name }) => [name, Math.round(nsOf(timings, name) * 10) / 10]))
  bench.say(`${kind}: ${timings.map(({ name, medianNs }) => `${name} ${medianNs.toFixed(1)}`).join(', ')}`)
  return { kind, ns, ...(missing === undefined ? {} : { missing }) }
}

async function walkInC(bench: Bench) {
  try {
    return { peer: await bench.peer('walk', [REQUESTERS, PAGES, ENTRIES, REQUESTS]) }
  } catch (error) {
    if (error instanceof Missing) return { missing: error.message }
    throw error
  }
}

function criteria({ kind, ns, missing }: Found, must: Bound, should: Bound): readonly Criterion[] {
  return Object.values(NAME).map((name) => ({
    name: `${name}, ${kind}`,
    measured: missing === undefined ? ns[name] / ns[C] : null,
    must,
    should,
    ...(missing === undefined ? {} : { missing }),
  }))
}

type Bound = NonNullable<Criterion['must']>
