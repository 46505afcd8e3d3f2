/** A memory region as a file: what IOMMU_IOAS_MAP_FILE takes, as a kernel takes a memfd. */

import type { Completion } from '../core/driver.js'
import type { Region } from '../core/region.js'
import type { File } from './file.js'

/** An open region; its memory stays until it is closed. */
export class RegionFile implements File {
  readonly region: Region

  constructor(region: Region) {
    this.region = region
    region.hold()
  }

  get name(): string {
    return `memory region ${this.region.id}`
  }

  pages(_call: unknown, offset: bigint) {
    return { kind: 'file', region: this.region, offset } as const
  }

  close(): Completion {
    this.region.drop()
    return undefined
  }
}
