/** What the unit writes into the PRI queue. [SMMU 8 Page request queue] */

import { address, bit, bits, layout } from '../bits/layout.js'

/** A page request, or a stop marker: Last without W and R, under a PASID. [SMMU 8 Page request queue] */
export const PRI_ENTRY = layout('PRI queue entry', 128, {
  StreamID: bits(31, 0),
  SubstreamID: bits(51, 32),
  Priv: bit(58),
  X: bit(59),
  R: bit(60),
  W: bit(61),
  Last: bit(62),
  SSV: bit(63),
  PRGIndex: bits(72, 64),
  PageAddress: address(127, 76),
})
