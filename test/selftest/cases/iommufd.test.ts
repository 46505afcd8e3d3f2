/** The fixture `iommufd` in every world. */

import { play } from '../harness/fixture.js'
import { IOMMUFD } from './iommufd.js'

play(IOMMUFD)
