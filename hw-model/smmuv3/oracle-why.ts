/** Sent commands in words, and what keeps each from doing what was missing. [SMMU 4 Commands] */

import { highWord, joinWord, lowWord } from '../bits/address.js'
import type { Invalidation } from '../port.js'
import {
  CMD_ATC_INV,
  CMD_CFGI_CD,
  CMD_CFGI_STE,
  CMD_CFGI_STE_RANGE,
  CMD_TLBI_NH_VA,
  OPCODE,
  RANGE_ALL,
} from './command-records.js'
import { levelOf, scaleOf } from './command-rules.js'
import type { Features } from './features.js'

const { NUM, TG, VMID, ASID, Leaf, Address } = CMD_TLBI_NH_VA

const NAMES = new Map(Object.entries(OPCODE).map(([name, opcode]) => [opcode as number, name]))

/** Which operands a TLBI has. */
const BY_VMID = /^TLBI_(NH_|S2_IPA|S12_VMALL)/
const BY_ASID = /^TLBI_(NH|EL2)_(ASID|VA)$/
const BY_ADDRESS = /^TLBI_.*(VA|VAA|IPA)$/

/** A command of the queue as reports spell it. */
export function invalidationOf(opcode: number, command: Int32Array, features: Features): Invalidation {
  const name = NAMES.get(opcode) as string
  switch (opcode) {
    case OPCODE.CFGI_STE:
      return { name, operands: { SID: CMD_CFGI_STE.SID.get(command, 0), Leaf: CMD_CFGI_STE.Leaf.get(command, 0) } }
    case OPCODE.CFGI_STE_RANGE: {
      const Range = CMD_CFGI_STE_RANGE.Range.get(command, 0)
      return { name, operands: { SID: CMD_CFGI_STE_RANGE.SID.get(command, 0), Range } }
    }
    case OPCODE.CFGI_CD: {
      const SID = CMD_CFGI_CD.SID.get(command, 0)
      return { name, operands: { SID, SSID: CMD_CFGI_CD.SSID.get(command, 0), Leaf: CMD_CFGI_CD.Leaf.get(command, 0) } }
    }
    case OPCODE.CFGI_CD_ALL:
      return { name, operands: { SID: CMD_CFGI_CD.SID.get(command, 0) } }
    case OPCODE.ATC_INV: {
      const { SID, SSID, SSV, G, Size } = CMD_ATC_INV
      const of: Record<string, number> = SSV.get(command, 0) === 1 ? { SSID: SSID.get(command, 0) } : {}
      const operands = { SID: SID.get(command, 0), ...of, G: G.get(command, 0), Size: Size.get(command, 0) }
      return { name, operands, page: pageOf(command) }
    }
    default:
      return tlbi(name, command, features)
  }
}

function tlbi(name: string, command: Int32Array, features: Features): Invalidation {
  const operands: Record<string, number> = {}
  if (BY_VMID.test(name) && features.stage2) operands.VMID = VMID.get(command, 0)
  else if (BY_VMID.test(name)) operands.VMID = 0
  if (BY_ASID.test(name)) operands.ASID = ASID.get(command, 0)
  if (!BY_ADDRESS.test(name)) return { name, operands }
  operands.Leaf = Leaf.get(command, 0)
  const tg = features.ril ? TG.get(command, 0) : 0
  if (tg !== 0) {
    operands.TG = tg
    operands.TTL = levelOf(command, features)
    operands.NUM = NUM.get(command, 0)
    operands.SCALE = scaleOf(command, features)
  }
  return { name, operands, page: pageOf(command) }
}

function pageOf(command: Int32Array): readonly [number, number] {
  const address = Address.get(command, 0)
  return [lowWord(address), highWord(address)]
}

/** What keeps a sent command from doing what is missing; null where it has nothing to do with it. */
export function shortfallsOf(sent: Invalidation, missing: Invalidation): readonly string[] | null {
  if (sent.name.startsWith('CFGI') && missing.name.startsWith('CFGI')) return ofConfiguration(sent, missing)
  if (sent.name.startsWith('TLBI') && missing.name.startsWith('TLBI')) return ofTranslations(sent, missing)
  return null
}

function ofConfiguration(sent: Invalidation, missing: Invalidation): readonly string[] {
  const { SID, Range = 0 } = sent.operands
  if (sent.name === 'CFGI_STE_RANGE' && Range === RANGE_ALL) return []
  const short: string[] = []
  const wanted = missing.operands.SID
  const inBlock = sent.name === 'CFGI_STE_RANGE' ? 2 ** (Range + 1) : 1
  if (Math.floor(SID / inBlock) !== Math.floor(wanted / inBlock)) short.push(wrong('SID', SID, wanted))
  if (missing.name === 'CFGI_STE' && sent.name.startsWith('CFGI_CD')) short.push('it drops CDs, and the STE is stale')
  if (sent.name === 'CFGI_CD' && missing.name === 'CFGI_CD' && sent.operands.SSID !== missing.operands.SSID) {
    short.push(wrong('SSID', sent.operands.SSID, missing.operands.SSID))
  }
  if (sent.operands.Leaf === 1 && missing.operands.Leaf === 0) short.push('leaf-only over a level 1 descriptor')
  return short
}

function ofTranslations(sent: Invalidation, missing: Invalidation): readonly string[] {
  const { operands } = sent
  const short: string[] = []
  if (sent.name === 'TLBI_NSNH_ALL' && !missing.name.startsWith('TLBI_EL2')) return short
  const isHyp = sent.name.startsWith('TLBI_EL2')
  if (isHyp !== missing.name.startsWith('TLBI_EL2')) return ['wrong StreamWorld']
  for (const name of ['VMID', 'ASID'] as const) {
    const wanted = missing.operands[name]
    const was = operands[name]
    if (wanted !== undefined && was !== undefined && was !== wanted) short.push(wrong(name, was, wanted))
  }
  const byIpa = missing.name === 'TLBI_S2_IPA'
  if (byIpa && sent.name.startsWith('TLBI_NH')) short.push('it drops stage 1, and what is kept by IPA is stale')
  if (!byIpa && sent.name === 'TLBI_S2_IPA') short.push('it drops what is kept by IPA, and not by VA')
  else if (sent.page !== undefined && missing.page !== undefined) short.push(...ofRange(sent, missing.page))
  if (operands.Leaf === 1 && missing.operands.Leaf === 0) short.push('leaf-only over a table change')
  return short
}

/** Where the pages that a command names do not hold the one that is stale. [SMMU 4.4.1.1 Range-based] */
function ofRange({ page = [0, 0], operands }: Invalidation, wanted: readonly [number, number]): readonly string[] {
  const { TG: tg = 0, TTL = 0, NUM: num = 0, SCALE = 0 } = operands
  const page4k = joinWord(page[0], page[1]) / 4096
  const granuleLg2 = tg === 0 ? 12 : 10 + 2 * tg
  const unit = 2 ** (granuleLg2 - 12 + (TTL === 0 ? 0 : (granuleLg2 - 3) * (3 - TTL)))
  const first = page4k - (page4k % unit)
  const last = first + (num + 1) * 2 ** (SCALE + granuleLg2 - 12) - 1
  const is = joinWord(wanted[0], wanted[1]) / 4096
  if (is < first) return [`it begins at ${hex(first * 4096)}`]
  if (is > last)
    return [
      num === 0 && SCALE === 0 ? `another page, ${hex(first * 4096)}` : `range ends at ${hex(last * 4096 + 4095)}`,
    ]
  return TTL === 0 ? [] : [`TTL ${TTL} and TG ${tg} name leaves of that level alone`]
}

const wrong = (name: string, was: number, wanted: number): string => `wrong ${name} (${was}, needed ${wanted})`

const hex = (address: number): string => `0x${address.toString(16)}`
