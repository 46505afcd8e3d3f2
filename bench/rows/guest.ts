/** A hit and a walk of the whole unit, beside a look-up of the same pages in a plain Map. */

import { guestLookups } from '../guest.js'
import { nsOf } from '../measure.js'
import type { Row } from '../row.js'

export const row: Row = {
  id: 'guest',
  what: 'translate() of the captured arm64 guest’s own look-ups: a hit against a JS Map, a walk against a hit',
  async run(bench) {
    const { hit, walk, map } = guestLookups()
    const timings = await bench.race([map, hit, walk])
    const [ofMap, ofHit, ofWalk] = [map, hit, walk].map(({ name }) => nsOf(timings, name))
    return {
      criteria: [
        { name: 'hit / Map', measured: ofHit / ofMap },
        { name: 'walk / hit', measured: ofWalk / ofHit },
      ],
      detail: { 'Map ns': ofMap, 'hit ns': ofHit, 'walk ns': ofWalk },
    }
  },
}
