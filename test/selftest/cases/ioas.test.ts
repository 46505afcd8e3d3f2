import { play } from '../harness/fixture.js'
import { IOAS } from './ioas.js'

play(IOAS)
