import { play } from '../harness/fixture.js'
import { DIRTY_TRACKING } from './dirty-tracking.js'

play(DIRTY_TRACKING)
