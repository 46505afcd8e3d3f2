import { play } from '../harness/fixture.js'
import { CHANGE_PROCESS } from './change-process.js'

play(CHANGE_PROCESS)
