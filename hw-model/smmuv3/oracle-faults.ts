/** How a dry translation that fails would have ended: stalled or not. Nothing is recorded. */

import { STATUS } from '../port.js'
import type { EventSink } from './events.js'

/** What would stall is known by its status, and goes nowhere. */
export const HELD_NOWHERE: EventSink = {
  record: () => undefined,
  hold: (event, _info, outcome) => {
    outcome.status = STATUS.PENDING
    outcome.fault = event
  },
}
