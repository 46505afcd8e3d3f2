/**
 * Carries out what the recorded driver did with ours. The rows do not say when pages were mapped: only that they were
 * when they were unmapped. So they are mapped as early as they can have been, after what was unmapped there before.
 */

import { ACCESS, Outcome } from '../../../hw-model/port.js'
import type { DeviceDriver, PagingOps } from '../../../server/core/driver.js'
import { CLIENT_RAM, type ListenedHost } from './listener.js'
import type { Operation } from './operations.js'
import type { Row } from './recording.js'

const PAGE = 4096n
/** Blocks of 1 GiB fit everywhere in a client's memory: its frames repeat after that many pages. */
const FRAMES = 2 ** 18
/** Nothing is mapped there. */
const NOWHERE = 0xffff_ffff_f000n
const RW = { read: true, write: true }
const PLAIN = { nestParent: false, dirtyTracking: false, pasid: false }

/** One recorded operation, and the rows that ours wrote for it. */
export interface Replayed {
  readonly operation: Operation
  readonly rows: readonly Row[]
}

interface Unmapping {
  readonly asid: number
  readonly page: number
  readonly pages: number
  readonly pageLg2: number
}

/** Answers what our driver wrote, operation by operation; mapping is none, and must write nothing. */
export function replay(host: ListenedHost, operations: readonly Operation[]): readonly Replayed[] {
  const player = new Player(host, mappingsOf(operations))
  return operations.map((operation, i) => ({ operation, rows: player.play(operation, i) }))
}

class Player {
  readonly #host: ListenedHost
  readonly #mappings: ReadonlyMap<string | number, readonly Unmapping[]>
  readonly #devices = new Map<number, DeviceDriver>()
  readonly #domains = new Map<number, PagingOps>()
  readonly #onRid = new Map<number, PagingOps>()

  constructor(host: ListenedHost, mappings: ReadonlyMap<string | number, readonly Unmapping[]>) {
    this.#host = host
    this.#mappings = mappings
  }

  play(operation: Operation, index: number): readonly Row[] {
    this.#do(operation)
    const rows = this.#host.taken()
    for (const mapping of this.#mappings.get(index) ?? []) this.#map(mapping)
    if (this.#host.taken().length > 0) throw new Error('mapping writes no command')
    return rows
  }

  #do(operation: Operation): void {
    switch (operation.kind) {
      case 'reset':
        return
      case 'attach': {
        const domain = this.#domain(operation.sid, operation.asid)
        this.#device(operation.sid).set(0, domain, null)
        this.#onRid.set(operation.sid, domain)
        return
      }
      case 'block':
        this.#device(operation.sid).clear(0, this.#onRid.get(operation.sid) as PagingOps)
        return
      case 'event':
        this.#device(0).port.translate(
          -1,
          Number(NOWHERE & 0xffffffffn),
          Number(NOWHERE >> 32n),
          ACCESS.READ,
          new Outcome(),
        )
        return
      default: {
        const domain = this.#domains.get(operation.asid) as PagingOps
        domain.unmap(BigInt(operation.page) * PAGE, BigInt(operation.pages) * PAGE)
        void domain.flush()
      }
    }
  }

  #device(sid: number): DeviceDriver {
    const known = this.#devices.get(sid)
    if (known !== undefined) return known
    const device = this.#host.driver.probe({ rid: sid, pasidLg2: 0, ats: false, pri: false })
    this.#devices.set(sid, device)
    return device
  }

  /** ASIDs are given out lowest first, so domains that are made in the recording's order have its ASIDs. */
  #domain(sid: number, asid: number): PagingOps {
    const known = this.#domains.get(asid)
    if (known !== undefined) return known
    const domain = this.#host.driver.createPaging(this.#device(sid), PLAIN)
    this.#domains.set(asid, domain)
    for (const mapping of this.#mappings.get(`asid ${asid}`) ?? []) this.#map(mapping)
    return domain
  }

  #map({ asid, page, pages, pageLg2 }: Unmapping): void {
    const domain = this.#domains.get(asid) as PagingOps
    const perFrame = 2 ** (pageLg2 - 12)
    if (page % perFrame !== 0 || pages % perFrame !== 0) throw new Error('leaves are aligned to their size')
    for (let done = 0; done < pages; ) {
      const at = page + done
      const run = Math.min(pages - done, FRAMES - (at % FRAMES))
      const address = CLIENT_RAM + (at % FRAMES) * 4096
      domain.map(BigInt(at) * PAGE, address, BigInt(run) * PAGE, RW, pageLg2 === 12)
      done += run
    }
  }
}

/** What is mapped after which operation: the last one that unmapped some of it, or when the domain is made. */
function mappingsOf(operations: readonly Operation[]): ReadonlyMap<string | number, readonly Unmapping[]> {
  const lastOf = new Map<number, number>()
  const mappings = new Map<string | number, Unmapping[]>()
  for (const [i, operation] of operations.entries()) {
    if (operation.kind !== 'unmap' && operation.kind !== 'free-table') continue
    const { asid, page, pages } = operation
    let after = -1
    for (let at = page; at < page + pages; at++) {
      const key = asid * 2 ** 36 + at
      after = Math.max(after, lastOf.get(key) ?? -1)
      lastOf.set(key, i)
    }
    const when = after < 0 ? `asid ${asid}` : after
    const mapping = { asid, page, pages, pageLg2: operation.kind === 'unmap' ? operation.pageLg2 : 12 }
    mappings.set(when, [...(mappings.get(when) ?? []), mapping])
  }
  return mappings
}
