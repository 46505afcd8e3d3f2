import { play } from '../harness/fixture.js'
import { VFIO_COMPAT } from './vfio-compat.js'

play(VFIO_COMPAT)
