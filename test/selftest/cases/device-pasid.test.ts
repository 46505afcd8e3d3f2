import { play } from '../harness/fixture.js'
import { DEVICE_PASID } from './device-pasid.js'

play(DEVICE_PASID)
