/** Streams in front of an SMMUv3: a linear stream table, one CD each or a table of 64, stage 1 alone or nested. */

import { type FieldSpec, type Layout, pack } from '../../hw-model/bits/layout.js'
import { NO_CACHE } from '../../hw-model/cache/geometry.js'
import { type CacheOptions, CD, CONFIG, idRegisters, OFFSET, S1DSS, SmmuV3, STE } from '../../hw-model/smmuv3/index.js'
import { type Fleet, type FleetOptions, FRAME, IOVA } from './fleet.js'
import { SMMU_STAGE_1, SMMU_STAGE_2, TableMemory } from './table-memory.js'

const SSIDS_LG2 = 6
const SSIDS = 2 ** SSIDS_LG2

/** Builds it, switched on, nothing cached. */
export function smmuFleet(options: FleetOptions): Fleet & { readonly unit: SmmuV3 } {
  const { requesters, mixed = false, pages, ownTables = 1, nested = false } = options
  const perTable = Math.ceil(pages / 512) + 4
  const tables = new TableMemory(
    2 ** 24 +
      requesters * 4096 * 1.2 +
      ownTables * perTable * 4096 +
      (nested ? ownTables * perTable * 64 + 2 ** 25 : 0),
  )
  const unit = new SmmuV3({
    memory: tables.memory,
    owner: { message: () => undefined, interrupt: () => undefined },
    id: idRegisters(),
    caches: cachesFor(options),
  })
  const streamsLg2 = Math.max(1, Math.ceil(Math.log2(requesters + 1)))
  const streams = tables.take(2 ** (streamsLg2 + 6))
  const stageTwo = nested ? tables.take() : 0
  const roots = Array.from({ length: ownTables }, () => tables.take())
  for (const root of roots) tables.map(root, IOVA, pages, SMMU_STAGE_1, (page) => FRAME + page * 4096)
  const rids = new Int32Array(requesters)
  const pasids = new Int32Array(requesters).fill(-1)
  const record = <F extends Record<string, FieldSpec>>(
    of: Layout<F>,
    at: number,
    fields: { [K in keyof F]?: number },
  ) => tables.memory.storeRecord(at, pack(of, fields as never), 0, 16)
  let shared = 0
  let owner = -1
  for (let i = 0; i < requesters; i++) {
    const ssid = mixed && i % 2 === 1 ? (i >> 1) % SSIDS : -1
    let sid = i
    let cd = 0
    if (ssid < 0) cd = tables.take(64)
    else {
      if (ssid === 0 || owner < 0) {
        owner = i
        shared = tables.take(SSIDS * 64)
        ste(i, shared, SSIDS_LG2)
      }
      sid = owner
      cd = shared + ssid * 64
    }
    record(CD, cd, contextFields(i, roots[i % ownTables]))
    if (ssid < 0) ste(i, cd, 0)
    rids[i] = sid
    pasids[i] = ssid
  }
  if (nested) {
    tables.map(stageTwo, 0, tables.words.length / 1024, SMMU_STAGE_2, (page) => page * 4096)
    tables.map(stageTwo, FRAME, pages, SMMU_STAGE_2, (page) => 2 * FRAME + page * 4096)
  }
  const write64 = (offset: number, value: number) =>
    unit.writeRegister(offset, 8, value % 2 ** 32, Math.floor(value / 2 ** 32))
  write64(OFFSET.STRTAB_BASE, streams)
  unit.writeRegister(OFFSET.STRTAB_BASE_CFG, 4, streamsLg2, 0)
  unit.writeRegister(OFFSET.CR0, 4, 1, 0)
  return { unit, rids, pasids }

  function ste(sid: number, cd: number, cdMaxLg2: number): void {
    record(STE, streams + sid * 64, {
      V: 1,
      Config: nested ? CONFIG.NESTED : CONFIG.S1_TRANS,
      S1ContextPtr: cd,
      S1CDMax: cdMaxLg2,
      S1DSS: S1DSS.TERMINATE,
      ...(nested ? { S2VMID: 1, S2T0SZ: 16, S2SL0: 2, S2PS: 5, S2AA64: 1, S2PTW: 1, S2R: 1, S2TTB: stageTwo } : {}),
    })
  }
}

function cachesFor({ requesters, entries }: FleetOptions): CacheOptions {
  const geometry = entries === 0 ? NO_CACHE : { entries, ways: 4 }
  return {
    tlb: geometry,
    ipa: NO_CACHE,
    walk1: NO_CACHE,
    walk2: NO_CACHE,
    configEntries: Math.max(256, 2 * requesters),
  }
}

const contextFields = (asid: number, root: number) => ({
  V: 1,
  T0SZ: 16,
  EPD1: 1,
  IPS: 5,
  AA64: 1,
  R: 1,
  A: 1,
  ASET: 1,
  ASID: asid,
  TTB0: root,
})
