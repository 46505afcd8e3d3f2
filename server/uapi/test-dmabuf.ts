/** Operations on DMA buffers: memory behind a file, which its exporter can take back. */

import type { Call } from '../core/call.js'
import { type DmaBuf, makeDmaBuf, revoke } from '../core/dma-buf.js'
import type { Completion } from '../core/driver.js'
import type { PagesSource } from '../core/pages.js'
import { Refusal } from '../core/refusal.js'
import type { Work } from '../core/work.js'
import { type File, fileAt } from './file.js'
import type { TestAnswer, TestRun } from './test-command.js'
import { TEST_OP } from './test-structs.js'

const PAGE_BYTES = 4096
/** Pages of one buffer. */
const MOST_PAGES = 512

/** The file of a buffer, through which it is mapped. */
class DmaBufFile implements File {
  readonly name = 'dmabuf'
  readonly buffer: DmaBuf

  constructor(buffer: DmaBuf) {
    this.buffer = buffer
  }

  pages(_call: Call, offset: bigint, length: bigint): PagesSource {
    return this.buffer.source(offset, length)
  }

  /** What has mapped it keeps its memory. */
  close(): Completion {
    this.buffer.region.drop()
    return undefined
  }
}

/** By number. */
export const DMABUF_OPS: Readonly<Record<number, TestRun>> = {
  [TEST_OP.DMABUF_GET](call, { dmabuf_get_length: length }) {
    const pages = Math.ceil(length / PAGE_BYTES)
    if (pages === 0 || pages > MOST_PAGES) {
      throw new Refusal('EINVAL', `a buffer has 1 to ${MOST_PAGES} pages of 4096 bytes`, { length })
    }
    // The return value itself is the descriptor.
    return { result: call.context.files.open(call, () => new DmaBufFile(makeDmaBuf(call, pages * PAGE_BYTES))) }
  },
  [TEST_OP.DMABUF_REVOKE](call, { dmabuf_revoke_dmabuf_fd: fd, dmabuf_revoke_revoked: isRevoked }) {
    const file = fileAt(call, fd)
    if (!(file instanceof DmaBufFile)) throw new Refusal('EINVAL', `handle ${fd} is no DMA buffer`, { handle: fd })
    return call.inSlices(
      (function* (): Work<TestAnswer> {
        yield* revoke(call, file.buffer, isRevoked !== 0)
        return {}
      })(),
    )
  },
}
