/** What the driver writes into a stream's entry, and into its CD, for each kind of attachment. */

import type { LayoutInfo } from '../../../hw-model/bits/layout.js'
import { CD, STE } from '../../../hw-model/smmuv3/index.js'
import {
  type DomainOps,
  givenData,
  type PagingFlags,
  type PagingOps,
  type WindowOps,
} from '../../../server/core/driver.js'
import { CLIENT_RAM, ListenedHost } from './listener.js'

/** An attachment, and the fields that are not zero. */
export interface Attachment {
  readonly name: string
  readonly ste: string
  readonly cd: string
}

const PLAIN: PagingFlags = { nestParent: false, dirtyTracking: false, pasid: false }
/** Where a window is. */
const WINDOW = 0x8_0000_0000n
/** Fields whose value is a place of the host's. */
const PLACES: readonly string[] = ['S1ContextPtr', 'TTB0', 'S2TTB']

/** Each kind on a host of its own, so that numbers are alike. */
export function attachments(): readonly Attachment[] {
  return [
    entry('nothing', () => undefined),
    entry('paging domain on the RID', ({ paging, set }) => set(0, paging({}))),
    entry('… with dirty tracking', ({ paging, set }) => set(0, paging({ dirtyTracking: true }))),
    entry('… on PASID 5, the RID blocked', ({ paging, set }) => set(5, paging({ pasid: true }))),
    entry('nesting parent on the RID', ({ paging, set }) => set(0, paging({ nestParent: true }))),
    entry("user domain: a guest's stage 1", ({ user, set }) => set(0, user(0x4001_000bn, 0xd4n))),
    entry('user domain: bypass', ({ user, set }) => set(0, user(9n, 0n))),
    entry('user domain: abort', ({ user, set }) => set(0, user(1n, 0n))),
    entry('window', ({ window, set }) => set(0, window)),
  ]
}

interface Tools {
  readonly paging: (flags: Partial<PagingFlags>) => PagingOps
  readonly user: (ste0: bigint, ste1: bigint) => DomainOps
  readonly window: DomainOps
  readonly set: (slot: number, domain: DomainOps) => void
}

function entry(name: string, attach: (tools: Tools) => void): Attachment {
  const host = new ListenedHost({})
  const device = host.driver.probe({ rid: 8, pasidLg2: 6, ats: false, pri: false })
  const paging = (flags: Partial<PagingFlags>): PagingOps => host.driver.createPaging(device, { ...PLAIN, ...flags })
  attach({
    paging,
    user: (ste0, ste1) => {
      const parent = paging({ nestParent: true })
      parent.map(0x4000_0000n, CLIENT_RAM, 0x4000_0000n, { read: true, write: true })
      const viommu = host.driver.createViommu(device, parent)
      viommu.addVdevice(device, 8n)
      return viommu.createUserDomain(device, givenData('smmuv3_ste', { ste0, ste1 }), { pasid: false })
    },
    get window() {
      const window = (paging({ nestParent: true }) as { createWindow(): WindowOps }).createWindow()
      window.back({ start: WINDOW, last: WINDOW + 0xfffn })
      window.offer()
      return window
    },
    set: (slot, domain) => void device.set(slot, domain, null),
  })
  const ste = host.ste(8)
  const isHosts = Number((ste[0] >> 1n) & 7n) === 5
  const cds = isHosts ? Array.from({ length: 64 }, (_, i) => host.cd(ste, i)) : []
  const index = cds.findIndex((cd) => (cd[0] & 0x8000_0000n) !== 0n)
  return { name, ste: fieldsOf(STE, ste), cd: index < 0 ? '' : fieldsOf(CD, cds[index]) }
}

function fieldsOf({ $ }: { readonly $: LayoutInfo }, words: readonly bigint[]): string {
  return [...$.fields]
    .flatMap(([name, { low, high }]) => {
      const value = (words[low >> 6] >> BigInt(low & 63)) & ((1n << BigInt(high - low + 1)) - 1n)
      if (value === 0n) return []
      return [PLACES.includes(name) ? name : `${name}=${value > 99n ? `0x${value.toString(16)}` : value}`]
    })
    .join(' ')
}
