/**
 * One small scenario for each quirk, with the manual's answer spelled by hand. A reference that gives this answer has lost
 * the quirk, and the excuse goes with it; a unit of ours that gives another one is wrong.
 */

import { COMMANDS } from './commands.js'
import { LEAF_1, LEAF_2 } from './geometry.js'
import { cdWords, l1stdWord } from './layout.js'
import { FIRST, OUTPUT_1, OUTPUT_2, type Probe, SECOND, UNMAPPED, VA } from './probe-stage.js'
import { PLACE } from './ram.js'

const LEAF_SLOT_1 = FIRST.last + 8 * 0x145
const LEAF_SLOT_2 = SECOND.last + 8 * 0x145
const AP1 = 1n << 6n
const AF = 1n << 10n
const NG = 1n << 11n

/** Second words of records: RnW is bit 99, S2 103, CLASS [105:104]. [SMMU 7.3 Event records] */
const WRITE_IN = 0x0000_0200_0000_0000n
const S2_WRITE_IN = 0x0000_0280_0000_0000n
const S2_WRITE_TT = 0x0000_0180_0000_0000n
const S2_WRITE_CD = 0x0000_0080_0000_0000n
const S2_READ_IN = 0x0000_0288_0000_0000n

/** A record of stream 8. */
const of8 = (event: number, ...words: readonly bigint[]): { record: readonly bigint[] } => ({
  record: [0x8_0000_0000n | BigInt(event), ...words, 0n, 0n, 0n].slice(0, 4),
})
const BAD_STE = of8(0x04)

/** Both halves: the upper one has the same tables. */
const bothHalves = (low: boolean, high: boolean, upper: number = FIRST.root): bigint[] => {
  const geometry = { granuleLg2: 12, inputBits: 39, start: 1 }
  return cdWords(7, 4, { geometry, table: FIRST.root, tbi: low }, { geometry, table: upper, tbi: high }, false, true)
}

const write = (stage: Parameters<Probe['act']>[0]): void => stage.write()

/** Of stages, entries and their rights. */
const WALKS: readonly Probe[] = [
  {
    quirk: 'UNPRIVILEGED',
    set: (stage) => stage.change(LEAF_SLOT_1, AP1),
    act: write,
    manual: of8(0x13, WRITE_IN, VA),
  },
  {
    quirk: 'TABLE_LIMITS',
    set: (stage) => {
      stage.change(FIRST.middle + 8 * 0x91, 1n << 62n)
      stage.ram.set(LEAF_SLOT_1, 0n)
    },
    act: write,
    manual: of8(0x10, WRITE_IN, VA),
  },
  {
    quirk: 'GLOBAL',
    set: (stage) => stage.change(LEAF_SLOT_1, NG),
    act: (stage) => {
      stage.write()
      stage.change(LEAF_SLOT_1, 0x1000n)
      stage.queue?.run([COMMANDS.nhVa(3, 9, VA, true)])
      stage.write()
    },
    manual: { ok: OUTPUT_1 ^ 0x1000 },
  },
  {
    quirk: 'CONCATENATED',
    set: (stage) => {
      stage.config = 6
      stage.second = { ...stage.second, geometry: { granuleLg2: 12, inputBits: 40, start: 1 } }
      stage.ram.set(SECOND.root + 0x1000, 0x40000000n | LEAF_2 | 1n)
    },
    act: (stage) => stage.write((1n << 39n) + BigInt(PLACE.DATA - 0x40000000)),
    manual: { ok: PLACE.DATA },
  },
  {
    quirk: 'START_TOO_HIGH',
    set: (stage) => {
      stage.config = 6
      stage.second = { ...stage.second, geometry: { granuleLg2: 12, inputBits: 30, start: 1 } }
    },
    act: write,
    manual: BAD_STE,
  },
  {
    quirk: 'S2PS_LIMITS_INPUT',
    set: (stage) => {
      stage.config = 6
      stage.second = { ...stage.second, ps: 0 }
    },
    act: write,
    manual: { ok: OUTPUT_2 },
  },
  {
    quirk: 'TABLE_SIZE',
    set: (stage) => {
      stage.cd[0] &= ~(7n << 32n)
      stage.ram.set(FIRST.root, (1n << 32n) | BigInt(FIRST.middle) | 3n)
    },
    act: write,
    manual: of8(0x11, WRITE_IN, VA),
  },
  {
    quirk: 'LEAF_ORDER',
    set: (stage) => stage.change(LEAF_SLOT_1, (1n << 44n) | AF),
    act: write,
    manual: of8(0x11, WRITE_IN, VA),
  },
  {
    quirk: 'BLOCK_LEVEL',
    set: (stage) => {
      stage.cd[0] = (stage.cd[0] & ~0x3fn) | 16n
      stage.ram.set(FIRST.root, LEAF_1 | 1n)
    },
    act: (stage) => stage.write(BigInt(PLACE.DATA)),
    manual: of8(0x10, WRITE_IN, BigInt(PLACE.DATA)),
  },
  {
    quirk: 'WRITE_ONLY',
    set: (stage) => {
      stage.config = 6
      stage.change(LEAF_SLOT_2, 1n << 6n)
    },
    act: (stage) => {
      stage.write()
      stage.read()
    },
    manual: { record: [0x10_0000_0013n, S2_READ_IN, VA, VA] },
  },
  {
    quirk: 'CACHED_DENIAL',
    set: (stage) => {
      stage.config = 6
      stage.change(LEAF_SLOT_2, 1n << 7n)
    },
    act: (stage) => {
      stage.read()
      stage.write()
    },
    manual: of8(0x13, S2_WRITE_IN, VA, VA),
  },
  {
    quirk: 'CACHED_IPA',
    set: (stage) => {
      stage.config = 7
      stage.ram.set(LEAF_SLOT_1, VA | LEAF_1 | 3n)
      stage.change(LEAF_SLOT_2, 1n << 7n)
    },
    act: (stage) => {
      stage.read()
      stage.write()
    },
    manual: of8(0x13, S2_WRITE_IN, VA, VA),
  },
  {
    quirk: 'IPA_BITS',
    set: (stage) => {
      stage.config = 6
    },
    act: (stage) => stage.write(VA + 0x1124n),
    manual: of8(0x10, S2_WRITE_IN, VA + 0x1124n, VA + 0x1000n),
  },
  {
    quirk: 'INPUT_SIZE',
    set: (stage) => {
      stage.config = 4
    },
    act: (stage) => stage.write(1n << 44n),
    manual: of8(0x11, WRITE_IN, 1n << 44n),
  },
  {
    quirk: 'HIGH_TAG',
    set: (stage) => stage.cd.splice(0, 8, ...bothHalves(true, false)),
    act: (stage) => stage.write(0xfbff_ff80_0000_0000n | VA),
    manual: of8(0x10, WRITE_IN, 0xfbff_ff80_0000_0000n | VA),
  },
  {
    quirk: 'TAGGED',
    set: (stage) => stage.cd.splice(0, 8, ...bothHalves(true, true)),
    act: (stage) => {
      stage.write((0xabn << 56n) | VA)
      stage.change(LEAF_SLOT_1, 0x1000n)
      stage.queue?.run([COMMANDS.nhVa(3, 7, VA, true)])
      stage.write((0xabn << 56n) | VA)
    },
    manual: { ok: OUTPUT_1 ^ 0x1000 },
  },
]

/** Of stage 1 behind stage 2. */
const NESTED: readonly Probe[] = [
  {
    quirk: 'TABLE_FAULT',
    set: (stage) => {
      stage.config = 7
      stage.ram.set(FIRST.root, BigInt(UNMAPPED) | 3n)
    },
    act: write,
    manual: of8(0x10, S2_WRITE_TT, VA, BigInt(UNMAPPED)),
  },
  {
    quirk: 'ROOT_FAULT',
    set: (stage) => {
      stage.config = 7
      stage.cd.splice(0, 8, ...bothHalves(false, false, UNMAPPED))
    },
    act: write,
    manual: { ok: OUTPUT_1 },
  },
  {
    quirk: 'SCATTERED_TABLE',
    set: (stage) => {
      stage.config = 7
      // A 64 KiB table at UNMAPPED, of which stage 2 maps the first page and the tenth, apart from each other.
      const geometry = { granuleLg2: 16, inputBits: 39, start: 2 }
      stage.cd.splice(0, 8, ...cdWords(7, 4, { geometry, table: FIRST.root, tbi: false }, null, false, true))
      stage.ram.set(FIRST.root, BigInt(UNMAPPED) | 3n)
      const [middle, last, page] = [0x4000, 0x5000, 0x6000].map((offset) => SECOND.root + offset)
      stage.ram.set(SECOND.root + 8 * 2, BigInt(middle) | 3n)
      stage.ram.set(middle, BigInt(last) | 3n)
      stage.ram.set(last, BigInt(FIRST.middle) | LEAF_2 | 3n)
      stage.ram.set(last + 8 * 9, BigInt(page) | LEAF_2 | 3n)
      stage.ram.set(page + 0x1a0, BigInt(PLACE.DATA) | LEAF_1 | 3n)
    },
    act: write,
    manual: { ok: PLACE.DATA + 0x5000 },
  },
  {
    quirk: 'CONTEXT_FAULT',
    set: (stage) => {
      stage.config = 7
      stage.contextPointer = UNMAPPED + 0x40
    },
    act: write,
    manual: of8(0x10, S2_WRITE_CD, VA, BigInt(UNMAPPED)),
  },
  {
    quirk: 'DEVICE_TABLE',
    set: (stage) => {
      stage.config = 7
      stage.second = { ...stage.second, protectsTables: true }
      stage.change(SECOND.root + 8, 0xfn << 2n)
    },
    act: write,
    manual: of8(0x13, S2_WRITE_CD, VA, BigInt(PLACE.CONTEXTS)),
  },
]

/** Of configuration, registers and commands. */
const CONFIGURATION: readonly Probe[] = [
  {
    quirk: 'S2_FLAGS',
    set: (stage) => {
      stage.config = 6
      stage.steFlips[2] = 1n << 56n
    },
    act: write,
    manual: BAD_STE,
  },
  {
    quirk: 'S1CDMAX',
    set: (stage) => {
      stage.steFlips[0] = 1n << 59n
    },
    act: write,
    manual: { ok: OUTPUT_1 },
  },
  {
    quirk: 'S1STALLD',
    set: (stage) => {
      stage.config = 6
      stage.steFlips[1] = 1n << 27n
    },
    act: write,
    manual: { ok: OUTPUT_2 },
  },
  {
    quirk: 'CONTEXT_POINTER',
    set: (stage) => {
      stage.contextPointer = 2 ** 45
    },
    act: write,
    manual: BAD_STE,
  },
  {
    quirk: 'FETCH_ADDRESS',
    set: (stage) => {
      stage.contextPointer = PLACE.END + 0x1000
    },
    act: write,
    manual: of8(0x09, 0n, 0n, BigInt(PLACE.END + 0x1000)),
  },
  {
    quirk: 'FETCH_TOP',
    isTwoLevel: true,
    set: (stage) => stage.ram.set(PLACE.STREAMS, l1stdWord(2 ** 45 + PLACE.END, 6)),
    act: write,
    manual: of8(0x03, 0n, 0n, BigInt(PLACE.END + 64 * 8)),
  },
  {
    quirk: 'SPAN',
    isTwoLevel: true,
    set: (stage) => {
      // Eight STEs, and a ninth behind them.
      stage.ram.set(PLACE.STREAMS, l1stdWord(PLACE.STREAM_LEAVES, 3))
      stage.ram.setAll(PLACE.STREAM_LEAVES + 64 * 8, stage.ste)
    },
    act: write,
    manual: of8(0x02),
  },
  {
    quirk: 'L2PTR',
    isTwoLevel: true,
    set: (stage) => {
      stage.ram.set(PLACE.STREAMS, l1stdWord(PLACE.STREAM_LEAVES, 6) | (1n << 60n))
      stage.ram.setAll(PLACE.STREAM_LEAVES + 64 * 8, stage.ste)
    },
    act: write,
    manual: { ok: OUTPUT_1 },
  },
  {
    quirk: 'UNWANTED_RECORD',
    set: (stage) => {
      stage.recordsBadStreams = false
      stage.log2Size = 3
    },
    act: write,
    manual: 'abort',
  },
  {
    quirk: 'COMMAND_TAKEN',
    act: (stage) => {
      // CMD_TLBI_EL2_ALL, where IDR0.Hyp is 0.
      stage.queue?.runRefused([0x20n, 0n], () => stage.pair.check(0x9c, 'CMDQ_CONS'))
      stage.pair.excuse('COMMAND_TAKEN')
      stage.write()
    },
    manual: 'stopped',
  },
]

/** Every probe. */
export const PROBES: readonly Probe[] = [...WALKS, ...NESTED, ...CONFIGURATION]
