/**
 * What the invalidation oracle costs: a whole `translate()` that hits, under `report`, and off after it was on, against
 * one of a unit whose oracle was never switched on. All of them are alive at once, as in a daemon.
 */

import type { RemappingUnit } from '../../hw-model/port.js'
import { geometricMean, nsOf } from '../measure.js'
import { type Fleet, type FleetOptions, randomRequests, send, warm } from '../pipeline/fleet.js'
import { smmuFleet } from '../pipeline/smmu-fleet.js'
import { vtdFleet } from '../pipeline/vtd-fleet.js'
import type { Bench, Row } from '../row.js'

const POPULATIONS = [16, 1000] as const
const PAGES = 2 ** 14
const REQUESTS = 2 ** 15
/** Four times what is resident: nothing has to make room, though it could. */
const ENTRIES = 4 * PAGES

const STATE = { NEVER: 'never on', OFF: 'off again', REPORT: 'report' } as const
const STATES = Object.values(STATE)

const MAKERS: Readonly<Record<string, (options: FleetOptions) => Fleet>> = { SMMUv3: smmuFleet, 'VT-d': vtdFleet }

/** The row. */
export const row: Row = {
  id: 'oracle',
  what: 'a whole translate() that hits under the oracle, and with it off again, against one without',
  async run(bench) {
    const found = new Map<string, Awaited<ReturnType<typeof population>>[]>()
    for (const name of Object.keys(MAKERS)) {
      const all: Awaited<ReturnType<typeof population>>[] = []
      for (const requesters of POPULATIONS) all.push(await population(bench, name, requesters))
      found.set(name, all)
    }
    const ratio = (name: string, state: string): number =>
      geometricMean((found.get(name) ?? []).map(({ ns }) => ns(state) / ns(STATE.NEVER)))
    const names = [...found.keys()]
    return {
      criteria: [
        ...names.map((name) => ({
          name: `${name}: report / never on`,
          measured: ratio(name, STATE.REPORT),
          must: { atMost: 12 },
        })),
        ...names.map((name) => ({
          name: `${name}: off again / never on`,
          measured: ratio(name, STATE.OFF),
          must: { atMost: 1.1 },
        })),
      ],
      detail: Object.fromEntries(
        [...found].map(([name, all]) => [
          name,
          all.map(({ requesters, ns }) => ({
            requesters,
            ...Object.fromEntries(STATES.map((state) => [`${state} ns`, Math.round(ns(state) * 10) / 10])),
          })),
        ]),
      ),
    }
  },
}

async function population(bench: Bench, name: string, requesters: number) {
  const pages = Math.max(2, Math.floor(PAGES / requesters))
  const options = { requesters, mixed: requesters > 1, pages, entries: ENTRIES }
  const requests = randomRequests(REQUESTS, requesters, pages)
  const fleets = STATES.map(() => MAKERS[name](options))
  for (const fleet of fleets) warm(fleet, pages)
  const [, off, report] = fleets
  watch(off.unit)
  watch(report.unit)
  for (const fleet of [off, report]) warm(fleet, pages)
  off.unit.setOracle(null)
  const timings = await bench.race(
    STATES.map((state, i) => ({
      name: state,
      operations: REQUESTS,
      run: (rounds: number) => send(fleets[i], requests, rounds),
    })),
  )
  const counts = report.unit.oracle?.counts
  if (counts === undefined || counts.compared < REQUESTS || counts.stale > 0) {
    throw new Error('the oracle compares everything, and finds nothing stale')
  }
  const ns = (state: string): number => nsOf(timings, state)
  bench.say(`${name}, ${requesters}: ${STATES.map((state) => `${state} ${ns(state).toFixed(1)}`).join(', ')}`)
  return { requesters, ns }
}

const watch = (unit: RemappingUnit): void => unit.setOracle({ fails: false, graceSyncs: 0, reportLimit: 16 })
