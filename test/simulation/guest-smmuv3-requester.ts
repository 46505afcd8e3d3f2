/** What the devices of a random guest ask for: often the same page again, perhaps in another way. */

import { ACCESS, type Outcome, STATUS } from '../../hw-model/port.js'
import type { ArmTables } from './arm-tables.js'
import type { Group, GuestStream } from './guest-smmuv3-build.js'
import type { SmmuFeatures } from './reference/smmuv3-features.js'
import type { SmmuAccess } from './reference/smmuv3-types.js'
import type { Rng } from './rng.js'

const ALL = (1n << 64n) - 1n

/** Makes accesses. */
export class Requester {
  readonly #rng: Rng
  readonly #features: SmmuFeatures
  readonly #streams: readonly GuestStream[]
  readonly #recent: SmmuAccess[] = []
  /** Addresses that translation requests obtained, by stream. */
  readonly #obtained: { readonly sid: number; readonly address: bigint }[] = []
  #again: SmmuAccess | undefined

  constructor(rng: Rng, features: SmmuFeatures, groups: readonly Group[]) {
    this.#rng = rng
    this.#features = features
    this.#streams = groups.flatMap(({ streams }) => streams)
  }

  /** The next access. */
  next(): SmmuAccess {
    const rng = this.#rng
    const again = this.#again
    this.#again = undefined
    if (again !== undefined) return { ...again, address: again.address ^ rng.bits(12) }
    if (this.#features.ats && rng.chance(0.08)) return this.#translated()
    const before = rng.chance(0.5) ? this.recent() : undefined
    if (before !== undefined) return this.#vary(before)
    const access = this.#fresh()
    this.#recent.push(access)
    if (this.#recent.length > 8) this.#recent.shift()
    return access
  }

  /** The same access comes next. */
  repeat(access: SmmuAccess): void {
    this.#again = access
  }

  /** One of the last accesses. */
  recent(): SmmuAccess | undefined {
    return this.#recent.length === 0 ? undefined : this.#rng.pick(this.#recent)
  }

  /** A device keeps what a translation request gave it. */
  learn({ kind, sid }: SmmuAccess, { status, rights, address }: Outcome): void {
    const isGrant = kind === 'request' && status === STATUS.OK && (rights & (ACCESS.READ | ACCESS.WRITE)) !== 0
    if (!isGrant) return
    this.#obtained.push({ sid, address: BigInt(address) })
    if (this.#obtained.length > 8) this.#obtained.shift()
  }

  #vary(access: SmmuAccess): SmmuAccess {
    const rng = this.#rng
    const again = { ...access, kind: this.#kind(), address: access.address ^ rng.bits(12) }
    if (rng.chance(0.15)) {
      const stream = rng.pick(this.#streams)
      return { ...again, sid: stream.sid, ssid: this.#ssid(stream) }
    }
    return rng.chance(0.7) ? again : { ...again, ...this.#mode(again.kind) }
  }

  #kind(): 'ordinary' | 'request' {
    return this.#features.ats && this.#rng.chance(0.25) ? 'request' : 'ordinary'
  }

  #mode(kind: SmmuAccess['kind']): Pick<SmmuAccess, 'write' | 'fetch' | 'privileged'> {
    const rng = this.#rng
    const write = rng.chance(0.45)
    return { write, fetch: (!write || kind === 'request') && rng.chance(0.2), privileged: rng.chance(0.25) }
  }

  #translated(): SmmuAccess {
    const rng = this.#rng
    const known = this.#obtained.length > 0 && rng.chance(0.6) ? rng.pick(this.#obtained) : undefined
    const sid = known?.sid ?? rng.pick(this.#streams).sid
    const address = known === undefined ? rng.bits(rng.pick([33, 40, 48, 52, 64])) : known.address ^ rng.bits(12)
    const ssid = rng.chance(0.3) ? rng.int(8) : undefined
    return { kind: 'translated', sid, ssid, address, ...this.#mode('translated') }
  }

  #fresh(): SmmuAccess {
    const rng = this.#rng
    const stream = rng.pick(this.#streams)
    const { group } = stream
    const sid = rng.chance(0.02) ? rng.int(2 ** 16) : stream.sid
    const ssid = this.#ssid(stream)
    const kind = this.#kind()
    const isSkipped =
      stream.config < 5 || stream.config === 6 || (ssid === undefined && group.cdMax > 0 && stream.dss === 1)
    const used = isSkipped ? undefined : group.contexts.find((other) => other.ssid === (ssid ?? 0))
    const half = used?.halves[1] !== undefined && rng.chance(0.4) ? 1 : 0
    const tables = used === undefined ? group.stage2?.tables : used.halves[half]
    return {
      kind,
      sid,
      ssid: ssid !== undefined && rng.chance(0.04) ? rng.int(2 ** 20) : ssid,
      address: this.#address(tables, half, used !== undefined),
      ...this.#mode(kind),
    }
  }

  /** Mostly one that the stream takes. */
  #ssid({ group, config, dss }: GuestStream): number | undefined {
    const rng = this.#rng
    const hasSubstreams = (config & 1) === 1 && group.cdMax > 0
    if (rng.chance(0.04)) return rng.chance(0.5) ? undefined : rng.int(4)
    if (!hasSubstreams) return undefined
    const isPlain = dss === 1 || dss === 2 ? rng.chance(0.4) : false
    if (isPlain) return undefined
    const ssids = group.contexts.map(({ ssid }) => ssid).filter((ssid) => dss !== 2 || ssid !== 0)
    return ssids.length === 0 ? undefined : rng.pick(ssids)
  }

  #address(tables: ArmTables | undefined, half: number, hasTags: boolean): bigint {
    const rng = this.#rng
    if (rng.chance(0.03)) return rng.bits(64)
    if (rng.chance(0.03)) return rng.bits(rng.pick([49, 53]))
    const count = tables === undefined ? 0 : tables.leaves.length + tables.spans.length
    if (tables === undefined || count === 0) return rng.bits(36)
    const pick = rng.int(count)
    const { input, lg2 } =
      pick < tables.leaves.length
        ? tables.leaves[pick]
        : {
            input: tables.spans[pick - tables.leaves.length].slots[0].input,
            lg2: tables.spans[pick - tables.leaves.length].lg2,
          }
    let address = input + rng.bits(lg2)
    const { inputBits } = tables.shape
    if (rng.chance(0.05)) address ^= 1n << BigInt(rng.int(inputBits))
    if (half === 1) address |= ALL & ~((1n << BigInt(inputBits)) - 1n)
    if (hasTags && rng.chance(0.05)) address ^= rng.bits(8) << 56n
    return address & ALL
  }
}
