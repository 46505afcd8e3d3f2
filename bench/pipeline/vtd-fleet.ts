/** Source-ids and PASIDs in front of a VT-d unit in scalable mode: one PASID directory, an entry each. */

import { pack } from '../../hw-model/bits/layout.js'
import { NO_CACHE } from '../../hw-model/cache/geometry.js'
import {
  PASID_TABLE_ENTRY,
  PGTT,
  presetOptions,
  REGISTER,
  SCALABLE_CONTEXT_ENTRY,
  VtdUnit,
} from '../../hw-model/vtd/index.js'
import { type Fleet, type FleetOptions, FRAME, IOVA } from './fleet.js'
import { TableMemory, VTD_FIRST, VTD_SECOND } from './table-memory.js'

/** Entries of the PASID directory: PDTS 1. */
const DIRECTORY_ENTRIES = 256

/** Of a request without PASID whose source-id has no tables of its own: nobody's. */
const SHARED_SID = 0xfff0

/** Builds it, switched on, nothing cached. */
export function vtdFleet(options: FleetOptions): Fleet & { readonly unit: VtdUnit } {
  const { requesters, mixed = false, pages, entries, ownTables = 1, nested = false } = options
  const perTable = Math.ceil(pages / 512) + 4
  const tables = new TableMemory(
    2 ** 24 + ownTables * perTable * 4096 + (nested ? ownTables * perTable * 64 + 2 ** 25 : 0) + 512 * 4096,
  )
  const geometry = entries === 0 ? NO_CACHE : { entries, ways: 4 }
  const configs = 2 ** Math.ceil(Math.log2(Math.max(256, requesters + 1)))
  const unit = new VtdUnit(
    tables.memory,
    { message: () => undefined, interrupt: () => undefined },
    presetOptions(
      'vtd-scalable',
      {},
      {
        iotlb: geometry,
        walk1: NO_CACHE,
        walk2: NO_CACHE,
        contextEntries: configs,
        pasidEntries: configs,
      },
    ),
  )
  const root = tables.take()
  const directory = tables.take()
  const pasidTables = tables.take(DIRECTORY_ENTRIES * 4096)
  for (let i = 0; i < DIRECTORY_ENTRIES; i++) tables.store(directory + i * 8, pasidTables + i * 4096, 1)
  const second = nested ? tables.take() : 0
  const roots = Array.from({ length: ownTables }, () => tables.take())
  for (const first of roots) tables.map(first, IOVA, pages, VTD_FIRST, (page) => FRAME + page * 4096)
  if (nested) {
    tables.map(second, 0, tables.words.length / 1024, VTD_SECOND, (page) => page * 4096)
    tables.map(second, FRAME, pages, VTD_SECOND, (page) => 2 * FRAME + page * 4096)
  }
  for (let bus = 0; bus < 256; bus++) {
    if (bus * 256 > requesters && bus !== 255) continue
    tables.store(root + bus * 16, tables.take(), 1)
    tables.store(root + bus * 16 + 8, tables.take(), 1)
  }
  const rids = new Int32Array(requesters)
  const pasids = new Int32Array(requesters).fill(-1)
  context(SHARED_SID, 0)
  for (let i = 0; i < requesters; i++) {
    const pasid = i + 1
    entry(pasid, roots[i % ownTables])
    const hasPasid = mixed && i % 2 === 1
    if (!hasPasid) context(i, pasid)
    rids[i] = hasPasid ? SHARED_SID : i
    pasids[i] = hasPasid ? pasid : -1
  }
  unit.writeRegister(REGISTER.RTADDR, 8, root | (1 << 10), 0)
  unit.writeRegister(REGISTER.GCMD, 4, 1 << 30, 0)
  unit.writeRegister(REGISTER.GCMD, 4, 1 << 31, 0)
  return { unit, rids, pasids }

  function context(sid: number, ridPasid: number): void {
    const at = tables.words[(root + (sid >> 8) * 16 + ((sid & 0x80) >> 4)) / 4] & ~0xfff
    const words = pack(SCALABLE_CONTEXT_ENTRY, {
      P: 1,
      PASIDE: 1,
      PDTS: 1,
      PASIDDIRPTR: directory,
      RID_PASID: ridPasid,
    })
    tables.memory.storeRecord(at + (sid & 0x7f) * 32, words, 0, 8)
  }

  function entry(pasid: number, first: number): void {
    const words = pack(PASID_TABLE_ENTRY, {
      P: 1,
      AW: 2,
      PGTT: nested ? PGTT.NESTED : PGTT.FIRST,
      SSPTPTR: second,
      DID: pasid,
      PWSNP: 1,
      FSPTPTR: first,
    })
    tables.memory.storeRecord(pasidTables + pasid * 64, words, 0, 16)
  }
}
