/** How often a page of memory is pinned, for the self-test device, which compares it. Nobody counts until it is asked. */

import type { Context } from './context.js'
import { Ioas } from './ioas.js'
import type { Pages } from './pages.js'
import type { Region } from './region.js'

/** Everything of a context that may have pinned memory. */
export function allPages({ objects }: Context): ReadonlySet<Pages> {
  const found = new Set<Pages>()
  for (const object of objects.ascending()) {
    if (object instanceof Ioas) for (const { pages } of object.areas) found.add(pages)
  }
  return found
}

/** Mappings that have pinned the page with a byte of a region's memory; one counts once, however many domains it is in. */
export const pinCount = (all: Iterable<Pages>, region: Region, offset: number): number =>
  [...all].filter((pages) => pages.pins(region, offset)).length
