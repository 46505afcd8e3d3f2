/** What a pipeline counts, and whom it tells what it finds. */

import type { Page } from '../bits/address.js'

/** Counted per translation. */
export class Counts {
  translations = 0
  hits = 0
  misses = 0
  faults = 0
}

/** Sees what is found in the IOTLB. */
export interface TranslationTrace {
  /** An entry has answered the request. */
  foundTranslation(slot: number, page: Page): void
}
