/** The log of writes of a kernel-owned domain. */

import { type Context, No, no, type Paging, TOP } from './model.js'

/** A kernel-owned domain of an id. */
function pagingOf(ctx: Context, id: number): Paging {
  const found = ctx.things.get(id)
  if (found?.kind !== 'paging') throw new No('ENOENT')
  return found as Paging
}

/** SetDirtyTracking. */
export function setDirty(ctx: Context, { domainId, flags }: { domainId: number; flags: number }): object {
  no('EOPNOTSUPP', flags > 1)
  const domain = pagingOf(ctx, domainId)
  no('EOPNOTSUPP', !domain.dirty)
  if (flags === 1) domain.logged.clear()
  return {}
}

/** GetDirtyBitmap. */
export function getBitmap(
  ctx: Context,
  request: { domainId: number; flags: number; iova: bigint; length: bigint; pageSize: bigint },
): object {
  const { flags, iova, length, pageSize } = request
  no('EOPNOTSUPP', flags > 1)
  const domain = pagingOf(ctx, request.domainId)
  const end = iova + length
  no('EOVERFLOW', end - 1n > TOP || (length === 0n && iova > 0n))
  const mask = ctx.alignment(domain.ioas) - 1n
  no('EINVAL', ((iova | BigInt.asUintN(64, end)) & mask) !== 0n || pageSize === 0n)
  no('EINVAL', ((iova | BigInt.asUintN(64, end)) & (pageSize - 1n)) !== 0n)
  no('EOPNOTSUPP', !domain.dirty)
  // No bytes from 0 on are all of them, and no reply holds so many bits.
  no('EMSGSIZE', length === 0n)
  // A bit stands for the lowest power of two in the page size.
  const unit = pageSize & -pageSize
  const bitmap = new Uint8Array(Number((length / unit + 7n) / 8n))
  const { areas } = domain.ioas
  for (let at = iova; at < end; at += 4096n) {
    // Where nothing is mapped the walk ends.
    if (!areas.some(({ start, last }) => start <= at && at <= last)) break
    if (!domain.logged.has(at >> 12n)) continue
    if (flags === 0) domain.logged.delete(at >> 12n)
    for (let bit = Number((at - iova) / unit); bit <= Number((at - iova + 4095n) / unit); bit++) {
      bitmap[bit >> 3] |= 1 << (bit & 7)
    }
  }
  return { bitmap }
}
