import { play } from '../harness/fixture.js'
import { MOCK_DOMAIN } from './mock-domain.js'

play(MOCK_DOMAIN)
