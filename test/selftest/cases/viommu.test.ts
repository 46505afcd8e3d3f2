import { play } from '../harness/fixture.js'
import { VIOMMU } from './viommu.js'

play(VIOMMU)
