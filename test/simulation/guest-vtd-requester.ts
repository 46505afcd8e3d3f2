/** What the devices of a random VT-d guest ask for: often the same page again, perhaps in another way. */

import { ACCESS, type Outcome, STATUS } from '../../hw-model/port.js'
import type { Attachment, Guest } from './guest-vtd-build.js'
import type { VtdFeatures } from './reference/vtd-features.js'
import type { PageAsk } from './reference/vtd-pages.js'
import type { VtdAccess } from './reference/vtd-types.js'
import type { Rng } from './rng.js'

type Way = Pick<VtdAccess, 'read' | 'write' | 'execute' | 'privileged' | 'bytes'>

/** Makes accesses. */
export class Requester {
  readonly #rng: Rng
  readonly #features: VtdFeatures
  readonly #guest: Guest
  readonly #recent: VtdAccess[] = []
  /** Addresses that translation requests obtained. */
  readonly #obtained: { readonly sid: number; readonly pasid: number | undefined; readonly address: bigint }[] = []
  #again: VtdAccess | undefined

  constructor(rng: Rng, features: VtdFeatures, guest: Guest) {
    this.#rng = rng
    this.#features = features
    this.#guest = guest
  }

  /** The next access. */
  next(): VtdAccess {
    const rng = this.#rng
    const again = this.#again
    this.#again = undefined
    if (again !== undefined) return { ...again, address: again.address ^ rng.bits(12) }
    if (rng.chance(this.#features.dt ? 0.06 : 0.005)) return this.#translated()
    const before = rng.chance(0.5) ? this.recent() : undefined
    if (before !== undefined) return this.#vary(before)
    const access = this.#fresh()
    this.#recent.push(access)
    if (this.#recent.length > 8) this.#recent.shift()
    return access
  }

  /** The same access comes next. */
  repeat(access: VtdAccess): void {
    this.#again = access
  }

  /** One of the last accesses. */
  recent(): VtdAccess | undefined {
    return this.#recent.length === 0 ? undefined : this.#rng.pick(this.#recent)
  }

  /** A device keeps what a translation request gave it. */
  learn({ kind, sid, pasid }: VtdAccess, { status, rights, address }: Outcome): void {
    if (kind !== 'request' || status !== STATUS.OK || (rights & (ACCESS.READ | ACCESS.WRITE)) === 0) return
    this.#obtained.push({ sid, pasid, address: BigInt(address) })
    if (this.#obtained.length > 8) this.#obtained.shift()
  }

  /** A page request for what an access wants; without one, for any page, or a stop marker. */
  page(wanted?: VtdAccess): PageAsk {
    const rng = this.#rng
    const access = wanted ?? this.recent() ?? this.#fresh()
    const isMarker = wanted === undefined && rng.chance(0.05)
    const way = this.#way(access.pasid, 'request')
    return {
      ...access,
      ...way,
      kind: 'page',
      read: !isMarker && (way.read || !way.write),
      write: !isMarker && way.write,
      execute: !isMarker && way.execute,
      privileged: !isMarker && way.privileged,
      group: rng.int(512),
      isLast: isMarker || rng.chance(0.6),
    }
  }

  /** Which attachment an access is meant for. */
  attachmentOf({ sid, pasid }: VtdAccess): Attachment | undefined {
    const device = this.#guest.devices.find((other) => other.sid === sid)
    if (pasid === undefined) return device?.attachments[0]
    return device?.attachments.find((other) => other.pasid === pasid)
  }

  #vary(access: VtdAccess): VtdAccess {
    const rng = this.#rng
    const kind = this.#kind()
    const again = { ...access, kind, address: access.address ^ rng.bits(12) }
    if (rng.chance(0.6) && kind === access.kind) return again
    return { ...again, ...this.#way(access.pasid, kind) }
  }

  #kind(): 'untranslated' | 'request' {
    return this.#rng.chance(this.#features.dt ? 0.25 : 0.005) ? 'request' : 'untranslated'
  }

  #way(pasid: number | undefined, kind: VtdAccess['kind']): Way {
    const rng = this.#rng
    const how = rng.int(20)
    const write = how < 8
    const read = kind === 'request' || how < 2 || (how >= 8 && how < 19)
    return {
      read,
      write,
      execute: pasid !== undefined && !write && read && rng.chance(0.02),
      privileged: pasid !== undefined && rng.chance(0.3),
      bytes: rng.pick([0, 4, 8, 64]),
    }
  }

  #translated(): VtdAccess {
    const rng = this.#rng
    const known = this.#obtained.length > 0 && rng.chance(0.6) ? rng.pick(this.#obtained) : undefined
    const sid = known?.sid ?? rng.pick(this.#guest.devices).sid
    const address = known === undefined ? rng.bits(rng.pick([33, 40, 48, 52, 64])) : known.address ^ rng.bits(12)
    const pasid = rng.chance(0.3) ? (known?.pasid ?? rng.int(64)) : undefined
    return { kind: 'translated', sid, pasid, address, ...this.#way(pasid, 'translated') }
  }

  #fresh(): VtdAccess {
    const rng = this.#rng
    const device = rng.pick(this.#guest.devices)
    const attachment = rng.pick(device.attachments)
    const isFirst = attachment === device.attachments[0]
    const hasPasids = this.#features.pasid || rng.chance(0.1)
    let pasid = !hasPasids || (isFirst && rng.chance(0.95)) ? undefined : attachment.pasid
    if (rng.chance(0.02)) pasid = rng.chance(0.5) ? rng.int(2 ** 20) : rng.int(64)
    const sid = rng.chance(0.02) ? rng.int(0x10000) : device.sid
    const kind = this.#kind()
    return { kind, sid, pasid, address: this.#address(attachment), ...this.#way(pasid, kind) }
  }

  #address({ domain: { first, second } }: Attachment): bigint {
    const rng = this.#rng
    const tables = first?.tables ?? second?.tables
    if (rng.chance(0.03)) return rng.bits(64)
    if (rng.chance(0.03)) return 0xfee0_0000n | rng.bits(20)
    const leaves = tables?.entries.filter(({ isLeaf }) => isLeaf) ?? []
    if (tables === undefined || leaves.length === 0) {
      return rng.bits(rng.pick([30, 32, 38, this.#features.haw, 53]))
    }
    const leaf = rng.pick(leaves)
    let address = leaf.input + rng.bits(12 + 9 * (leaf.level - 1))
    const top = 12 + 9 * tables.levels
    if (rng.chance(0.06)) address ^= 1n << BigInt(rng.int(top + 2))
    const isHigh = first !== undefined && ((address >> BigInt(top - 1)) & 1n) === 1n
    return isHigh && rng.chance(0.97) ? BigInt.asUintN(64, BigInt.asIntN(top, address)) : address
  }
}
