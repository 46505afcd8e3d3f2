/** The log of writes: each write that a DMA made is told by the next look at its page, or by the one after it. */

import type { Paging, Run } from './model.js'
import { plain } from './paging-operations.js'
import { runProbes } from './runs.js'
import type { Operation, World } from './story.js'

/** Collects what was written to a run, and begins again. */
export function collectDirty(world: World): Operation | undefined {
  const { rng, onlooker } = world
  const logged = world.pagings.filter(({ tracksDirty, runs }) => tracksDirty && runs.now.length > 0)
  if (logged.length === 0) return undefined
  const domain = rng.pick(logged)
  const run = rng.pick(domain.runs.now)
  const during = new Set<number>()
  const told: Run[] = []
  return {
    ...plain('collect writes', () => `to 0x${run.page.toString(16)} of ${domain.name}`),
    probes: runProbes(world, domain, [run]),
    act: () => {
      onlooker.collecting = { domain, pages: during }
      try {
        return collect(domain, run, (page, pages) => told.push({ ...run, page, pages }))
      } finally {
        onlooker.collecting = undefined
      }
    },
    done: () => {
      domain.lingering = []
      const isTold = (page: number): boolean => told.some((one) => page >= one.page && page < one.page + one.pages)
      const isHere = (page: number): boolean => page >= run.page && page < run.page + run.pages
      const lost = [...domain.written].filter((page) => isHere(page) && !isTold(page))
      for (const page of domain.written) if (isHere(page)) domain.written.delete(page)
      for (const page of during) if (!isTold(page)) domain.written.add(page)
      return lost.length === 0 ? undefined : `a write to page 0x${lost[0].toString(16)} of ${domain.name} was lost`
    },
  }
}

function collect({ ops }: Paging, run: Run, found: (page: number, pages: number) => void): unknown {
  const last = BigInt(run.page + run.pages) * 4096n - 1n
  const tell = (iova: number, length: number): void => found(iova / 4096, length / 4096)
  for (let at: bigint | undefined = BigInt(run.page) * 4096n; at !== undefined; ) {
    at = ops.dirty?.collect(at, last, true, tell)
  }
  return ops.flush()
}
