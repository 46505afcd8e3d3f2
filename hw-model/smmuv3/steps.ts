/** Configuration structures as the steps of an explained walk. [SMMU 5 Data structure formats] */

import type { WalkStep } from '../port.js'
import { recordOf } from '../walk/describe.js'
import type { ContextConfig } from './decode-cd.js'
import type { StreamConfig } from './decode-ste.js'
import { addressBits } from './features.js'
import { CD, CONFIG, L1CD, L1STD, S1FMT, STE } from './records.js'
import { worldName } from './stream-world.js'

const CONFIGS: readonly string[] = [
  ...Array<string>(4).fill('abort'),
  'bypass',
  'stage 1',
  'stage 2',
  'stage 1 then stage 2',
]
const FORMATS = ['one level', 'two levels, 4 KiB leaves', 'two levels, 64 KiB leaves', 'one level'] as const
const NO_SUBSTREAM = ['terminate', 'bypass stage 1', 'use SubstreamID 0', 'terminate'] as const
const ATS = ['off', 'full', 'split-stage', 'off'] as const
const OVERRIDES = { PRIVCFG: ['unprivileged', 'privileged'], INSTCFG: ['data', 'instruction'] } as const
/** TG0 and S2TG, and TG1, which has codes of its own. */
const GRANULES = ['4 KiB', '64 KiB', '16 KiB', 'reserved'] as const
const GRANULES_1 = ['reserved', '16 KiB', '4 KiB', '64 KiB'] as const

const STAGE_1_FIELDS = ['S1Fmt', 'S1ContextPtr', 'S1CDMax', 'S1DSS', 'S1CIR', 'S1COR', 'S1CSH', 'S1STALLD'] as const
const STAGE_2_FIELDS = [
  ...['S2VMID', 'S2T0SZ', 'S2SL0', 'S2IR0', 'S2OR0', 'S2SH0', 'S2TG', 'S2PS', 'S2AA64', 'S2ENDI', 'S2AFFD', 'S2PTW'],
  ...['S2HD', 'S2HA', 'S2S', 'S2R', 'S2DS', 'S2SL0_2', 'S2TTB', 'S2FWB'],
] as const
const COMMON_FIELDS = ['V', 'Config', 'EATS', 'STRW', 'MTCFG', 'MemAttr', 'SHCFG', 'PRIVCFG', 'INSTCFG'] as const

/** [SMMU 5.2 Stream Table Entry] */
export function steStep(at: number, words: Int32Array, config: StreamConfig): WalkStep {
  const kind = STE.Config.get(words, 0)
  const isValid = STE.V.get(words, 0) === 1
  const [stage1, stage2] = [(kind & 5) === 5, (kind & 6) === 6]
  const only = [...COMMON_FIELDS, ...(stage1 ? STAGE_1_FIELDS : []), ...(stage2 ? STAGE_2_FIELDS : [])]
  const texts = isValid ? steTexts(words, config) : {}
  const spaces = { S1ContextPtr: kind === CONFIG.NESTED ? 'ipa' : 'pa' } as const
  const verdict = config.why === '' ? steVerdict(kind, config) : `C_BAD_STE: ${config.why}`
  const leads = config.why === '' && stage1
  return {
    what: 'STE',
    address: at,
    ...recordOf(STE, words, { only, texts, spaces }),
    verdict,
    ...(leads ? { target: { space: spaces.S1ContextPtr, address: config.contextPtr } } : {}),
    citation: '[SMMU 5.2 Stream Table Entry]',
  }
}

function steVerdict(kind: number, { cdMaxLg2, s1fmt }: StreamConfig): string {
  if (kind < CONFIG.BYPASS) return 'transactions are aborted, without an event'
  if (kind === CONFIG.BYPASS) return 'addresses pass untranslated'
  if (kind === CONFIG.S2_TRANS) return 'stage 2 alone translates'
  const where = cdMaxLg2 === 0 ? 'the CD' : s1fmt === S1FMT.LINEAR ? 'the table of CDs' : 'the table of L1CDs'
  return kind === CONFIG.NESTED ? `stage 1 then stage 2: ${where}` : `stage 1: ${where}`
}

function steTexts(words: Int32Array, { space, stageTwo }: StreamConfig): Record<string, string> {
  const s2bits = 64 - STE.S2T0SZ.get(words, 0)
  const cds = STE.S1CDMax.get(words, 0)
  const texts: Record<string, string> = {
    Config: CONFIGS[STE.Config.get(words, 0)],
    S1CDMax: cds === 0 ? 'one CD, no substreams' : `${2 ** cds} CDs`,
    EATS: `ATS: ${ATS[STE.EATS.get(words, 0)]}`,
    S2T0SZ: `${s2bits}-bit IPAs`,
    S2TG: GRANULES[STE.S2TG.get(words, 0)],
    S2PS: `${addressBits(STE.S2PS.get(words, 0))}-bit outputs`,
    S2AA64: STE.S2AA64.get(words, 0) === 1 ? 'VMSAv8-64' : 'VMSAv8-32 LPAE',
    S1STALLD: STE.S1STALLD.get(words, 0) === 1 ? 'no CD may stall' : 'a CD may stall',
    S2S: STE.S2S.get(words, 0) === 1 ? 'faults stall' : 'faults end the access',
    S2R: STE.S2R.get(words, 0) === 1 ? 'faults are recorded' : 'faults are not recorded',
  }
  // The manual counts levels down to 3, the walker up from 0.
  if (stageTwo !== null) texts['S2SL0'] = `starts at level ${3 - stageTwo.top}`
  if (STE.Config.get(words, 0) === CONFIG.S1_TRANS) texts['STRW'] = worldName(space)
  // Without substreams these two mean nothing.
  if (cds !== 0) texts['S1Fmt'] = FORMATS[STE.S1Fmt.get(words, 0)]
  if (cds !== 0) texts['S1DSS'] = `without SubstreamID: ${NO_SUBSTREAM[STE.S1DSS.get(words, 0)]}`
  for (const name of ['PRIVCFG', 'INSTCFG'] as const) {
    const value = STE[name].get(words, 0)
    texts[name] = value < 2 ? 'as the device says' : OVERRIDES[name][value & 1]
  }
  return texts
}

/** [SMMU 5.1 Level 1 Stream Table Descriptor] */
export function l1stdStep(at: number, words: Int32Array, leads: boolean): WalkStep {
  const span = L1STD.Span.get(words, 0)
  return {
    what: 'L1STD',
    address: at,
    ...recordOf(L1STD, words, { texts: leads ? { Span: `${2 ** (span - 1)} STEs` } : {} }),
    verdict: leads ? `next table of ${2 ** (span - 1)} STEs` : 'C_BAD_STREAMID: Span leads to no table',
    ...(leads ? { target: { space: 'pa', address: L1STD.L2Ptr.get(words, 0) } } : {}),
    citation: '[SMMU 5.1 Level 1 Stream Table Descriptor]',
  }
}

/** [SMMU 5.3 Level 1 Context Descriptor] `guest` is its IPA under nesting. */
export function l1cdStep(at: number, guest: number | undefined, words: Int32Array, leads: boolean): WalkStep {
  const space = guest === undefined ? 'pa' : 'ipa'
  const isValid = L1CD.V.get(words, 0) === 1
  return {
    what: 'L1CD',
    address: at,
    ...(guest === undefined ? {} : { guestAddress: guest }),
    ...recordOf(L1CD, words, { space }),
    verdict: leads ? 'table of CDs' : `C_BAD_SUBSTREAMID: ${isValid ? 'L2Ptr is beyond IDR5.OAS' : 'V is 0'}`,
    ...(leads ? { target: { space, address: L1CD.L2Ptr.get(words, 0) } } : {}),
    citation: '[SMMU 5.3 Level 1 Context Descriptor]',
  }
}

const CD_COMMON = ['V', 'ENDI', 'IPS', 'AFFD', 'WXN', 'AA64', 'HD', 'HA', 'S', 'R', 'A', 'DS'] as const
/** What NS-EL2 has not. */
const CD_EL1 = ['PAN', 'EPAN', 'ASET', 'ASID', 'EPD0', 'EPD1', 'E0PD0', 'E0PD1'] as const
const CD_REST = ['MAIR0', 'MAIR1'] as const
const halfFields = (n: 0 | 1): string[] => [
  ...[`T${n}SZ`, `TG${n}`, `IR${n}`, `OR${n}`, `SH${n}`, `TBI${n}`, `HAD${n}`, `TTB${n}`],
]

/** [SMMU 5.4 Context Descriptor] `guest` is its IPA under nesting. */
export function cdStep(at: number, guest: number | undefined, words: Int32Array, config: ContextConfig): WalkStep {
  const { isHyp } = config
  const halves = ([0, 1] as const).filter((n) => (isHyp ? n === 0 : CD[`EPD${n}`].get(words, 0) === 0))
  const only = [...CD_COMMON, ...(isHyp ? [] : CD_EL1), ...halves.flatMap(halfFields), ...CD_REST]
  const isValid = CD.V.get(words, 0) === 1
  const tables = halves.map((n) => `TTB${n}`).join(' and ')
  const legal = halves.length === 0 ? 'both halves are switched off' : `${whose(config)}, tables at ${tables}`
  return {
    what: 'CD',
    address: at,
    ...(guest === undefined ? {} : { guestAddress: guest }),
    ...recordOf(CD, words, { only, texts: isValid ? cdTexts(words) : {}, space: guest === undefined ? 'pa' : 'ipa' }),
    verdict: config.why === '' ? legal : `C_BAD_CD: ${config.why}`,
    citation: '[SMMU 5.4 Context Descriptor]',
  }
}

const whose = ({ isHyp, asid }: ContextConfig): string => (isHyp ? 'no ASID' : `ASID ${asid}`)

function cdTexts(words: Int32Array): Record<string, string> {
  const is = (field: 'S' | 'R' | 'A' | 'EPD0' | 'EPD1' | 'AA64' | 'ASET'): boolean => CD[field].get(words, 0) === 1
  return {
    T0SZ: `${64 - CD.T0SZ.get(words, 0)}-bit addresses`,
    T1SZ: `${64 - CD.T1SZ.get(words, 0)}-bit addresses`,
    TG0: GRANULES[CD.TG0.get(words, 0)],
    TG1: GRANULES_1[CD.TG1.get(words, 0)],
    EPD0: is('EPD0') ? 'TTB0 is off' : 'TTB0 is on',
    EPD1: is('EPD1') ? 'TTB1 is off' : 'TTB1 is on',
    IPS: `${addressBits(CD.IPS.get(words, 0))}-bit outputs`,
    AA64: is('AA64') ? 'VMSAv8-64' : 'VMSAv8-32 LPAE',
    S: is('S') ? 'a fault stalls' : 'a fault ends the access',
    R: is('R') ? 'faults are recorded' : 'faults are not recorded',
    A: is('A') ? 'a fault aborts' : 'a fault reads as zero',
  }
}
