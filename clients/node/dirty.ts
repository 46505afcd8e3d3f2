/** Which pages of a range were written, however long the range is and however many calls that takes. */

import type { GetDirtyBitmapRequest, GetDirtyBitmapResponse } from '../../proto/generated/types.js'

/** What reads dirty pages: a client in a context. */
export interface DirtyReader {
  getDirtyBitmap(
    request: DirtyRange & { readonly asRuns: true },
  ): Promise<Pick<GetDirtyBitmapResponse, 'runFirsts' | 'runLasts' | 'nextIova'>>
}

/** The range, and what a page of it is. Without the flag NO_CLEAR its pages are clean when they have been told. */
export type DirtyRange = Pick<GetDirtyBitmapRequest, 'domainId' | 'iova' | 'length' | 'pageSize'> & {
  readonly flags?: number
}

/** Bytes `[first, last]` of pages that follow each other and were written. */
export interface DirtyRun {
  readonly first: bigint
  readonly last: bigint
}

/** Every run of dirty pages in a range, in ascending order. Two may touch where a reply ended between them. */
export async function* dirtyRuns(client: DirtyReader, range: DirtyRange): AsyncGenerator<DirtyRun, void> {
  // A length of 0 at IOVA 0 is all of 64 bits, as in the kernel.
  const end = range.iova + (range.length === 0n ? 2n ** 64n : range.length)
  for (let iova: bigint | undefined = range.iova; iova !== undefined; ) {
    const length = BigInt.asUintN(64, end - iova)
    const reply: Awaited<ReturnType<DirtyReader['getDirtyBitmap']>> = await client.getDirtyBitmap({
      ...range,
      iova,
      length,
      asRuns: true,
    })
    for (const [i, first] of reply.runFirsts.entries()) yield { first, last: reply.runLasts[i] }
    iova = reply.nextIova
  }
}
