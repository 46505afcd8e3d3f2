/**
 * The log of writes by chance, beside an obvious model: the pages that were written since they were last made clean.
 * Devices come and go, guests write through tables of their own, pages are mapped anew, the log is switched.
 */

import { expect, it } from 'vitest'
import { type DomainOps, type PagingFlags, RID_SLOT } from '../../server/core/driver.js'
import type { PagingDomain } from '../../server/drivers/vtd/paging.js'
import { Random } from '../hostile/random.js'
import { CLIENT, dma, FS_RW, guestMaps, makeHost, makeUser } from './host.js'

const RW = { read: true, write: true }
const TRACKED: PagingFlags = { nestParent: true, dirtyTracking: true, pasid: true }
/** Small leaves at 0, a table of them that is full at 2 MiB, large leaves at 1 GiB. */
const AREAS = [
  { start: 0x1000n, pages: 40, leaf: 0x1000n, from: CLIENT + 0x1000 },
  { start: 0x20_0000n, pages: 512, leaf: 0x1000n, from: CLIENT + 0x21_0000 },
  { start: 0x4000_0000n, pages: 4, leaf: 0x20_0000n, from: CLIENT + 0x80_0000 },
]
/** The guest's tables: a walk through them counts as a write to their pages, and only some accesses walk. [VTD 3.8] */
const TABLES = [0x1_0000, 0x1_1000, 0x1_2000, 0x1_3000]
const GUEST_IOVA = 0x7000n
const SLOTS = [RID_SLOT, 5, 6]

it.each([1, 2, 3, 4])('seed %i: what was written is told, and nothing else', (seed) => {
  const chance = new Random(seed)
  const host = makeHost()
  const devices = [host.probe(8), host.probe(16)]
  const domain = host.driver.createPaging(devices[0], TRACKED) as PagingDomain
  for (const { start, pages, leaf, from } of AREAS) domain.map(start, from, leaf * BigInt(pages), RW)
  const target = 0x20_5000n
  guestMaps(host.memory, TABLES, GUEST_IOVA, target | BigInt(FS_RW))
  const user = makeUser(host, devices[0], domain, TABLES[0])
  const there = new Map<string, DomainOps>()
  const written = new Set<bigint>()
  let isOn = false
  let toldPages = 0

  const placeOf = (): { area: (typeof AREAS)[number]; page: bigint } => {
    const area = AREAS[chance.below(AREAS.length)]
    // A few of them, so that caches know what is written again.
    const index = chance.below(8) === 0 ? chance.below(area.pages) : chance.below(2)
    return { area, page: area.start + BigInt(index) * area.leaf }
  }
  const access = (): void => {
    const at = chance.below(2)
    const slot = SLOTS[chance.below(SLOTS.length)]
    const held = there.get(`${at} ${slot}`)
    if (held === undefined) return
    const { page } = placeOf()
    const isWrite = chance.below(2) === 0
    const iova = held === user ? GUEST_IOVA : page
    const reached = dma(devices[at], iova + 8n, isWrite ? 'w' : 'r', slot === RID_SLOT ? undefined : slot)
    expect(reached).toMatch(/^0x1/)
    const place = held === user ? target : page
    if (isWrite && isOn && !TABLES.includes(Number(place))) written.add(place)
  }
  const attach = (): void => {
    const at = chance.below(2)
    const slot = SLOTS[chance.below(SLOTS.length)]
    const key = `${at} ${slot}`
    const old = there.get(key)
    const next = [domain, user, undefined][chance.below(3)]
    if (next !== undefined && next === old) return
    if (next !== undefined) devices[at].set(slot, next, old ?? null)
    else if (old !== undefined) devices[at].clear(slot, old)
    if (next === undefined) there.delete(key)
    else there.set(key, next)
  }
  const mapAnew = (): void => {
    const { area, page } = placeOf()
    domain.unmap(page, area.leaf)
    domain.flush()
    domain.map(page, area.from + Number(page - area.start), area.leaf, RW)
    written.delete(page)
  }
  const switchLog = (): void => {
    isOn = !isOn
    domain.dirty?.setTracking(isOn)
  }
  const read = (): void => {
    const clears = chance.below(2) === 0
    const area = AREAS[chance.below(AREAS.length)]
    const first = chance.below(area.pages)
    const pages = 1 + chance.below(area.pages - first)
    const start = area.start + BigInt(first) * area.leaf
    const last = start + BigInt(pages) * area.leaf - 1n
    const told: bigint[] = []
    for (let at: bigint | undefined = start; at !== undefined; ) {
      at = domain.dirty?.collect(at, last, clears, (iova, length) => {
        expect(length).toBe(Number(area.leaf))
        if (!TABLES.includes(iova)) told.push(BigInt(iova))
      })
    }
    if (clears) domain.flush()
    const inRange = [...written].filter((page) => page >= start && page <= last).sort((a, b) => (a < b ? -1 : 1))
    expect(told).toEqual(inRange)
    toldPages += told.length
    if (clears) for (const page of inRange) written.delete(page)
  }
  const steps = [...Array(24).fill(access), ...Array(6).fill(read), attach, attach, mapAnew, switchLog]
  for (let i = 0; i < 8000; i++) steps[chance.below(steps.length)]()
  expect(toldPages).toBeGreaterThan(100)
})
