/**
 * The transitions that Linux's own unit test of its driver goes through, with the number of syncs and whether the entry
 * was invalid at one of them. The words are spelled out by hand from the fields that it fills in, so neither our
 * layouts nor our encoders have a say. [linux arm-smmu-v3-test]
 */

import { describe, expect, it } from 'vitest'
import { safeSteBits, usedCdBits, usedSteBits } from '../../server/drivers/smmuv3/entries.js'
import { ENTRY_WORDS, updateEntry } from '../../server/drivers/smmuv3/entry-update.js'

/** The entry of these 64-bit words; zeros follow. */
function entry(...qwords: bigint[]): Int32Array {
  const words = new Int32Array(ENTRY_WORDS)
  qwords.forEach((qword, i) => {
    words[i * 2] = Number(BigInt.asIntN(32, qword))
    words[i * 2 + 1] = Number(BigInt.asIntN(32, qword >> 32n))
  })
  return words
}

/** Config 0 and 4; SHCFG, bits 45:44 of the second word, is 1 where the unit can override it. */
const abort = entry(0x0000000000000001n)
const bypass = entry(0x0000000000000009n, 0x0000100000000000n)

/** Config 5, S1Fmt 2, S1CDMax 31, table at 0xf0f0f0f0f0c0; S1DSS 2 with ATS (EATS 1) and S1STALLD. */
const cdtable = entry(0xf800f0f0f0f0f0ebn, 0x00000000180000d6n)
/** S1DSS 1, which looks at SHCFG. */
const s1dssBypass = entry(0xf800f0f0f0f0f0ebn, 0x00001000180000d5n)
/** That with its table elsewhere. */
const moved = entry(0xf800004b4b4b4b6bn, 0x00001000180000d5n)
/** S1DSS 2, may stall, no ATS. */
const cdtableStalling = entry(0xf800f0f0f0f0f0ebn, 0x00000000000000d6n)

/** Config 6, VMID 0, S2T0SZ 4, SL0 3, IR0 2, OR0 1, SH0 3, TG 2, PS 1, AA64, PTW, R; EATS 1. */
const s2 = entry(0x000000000000000dn, 0x0000100010000000n, 0x0449b6c400000000n, 0x000dbeefdeadbee0n)
/** That without ATS. */
const s2Plain = entry(0x000000000000000dn, 0x0000100000000000n, 0x0449b6c400000000n, 0x000dbeefdeadbee0n)
/** That with S2S. */
const s2Stalling = entry(0x000000000000000dn, 0x0000100000000000n, 0x0649b6c400000000n, 0x000dbeefdeadbee0n)
/** Config 7: stage 1 of `s1dssBypass`, MEV, stage 2 of `s2`. */
const nested = entry(0xf800f0f0f0f0f0efn, 0x00001000180800d5n, 0x0449b6c400000000n, 0x000dbeefdeadbee0n)

const invalid = entry()
/** T0SZ 4, TG 2, IR0 2, OR0 1, SH0 3, EPD1, V, IPS 1, AA64, R, A, ASET and the ASID. */
const s1Cd = (asid: bigint): Int32Array =>
  entry((asid << 48n) | 0x0000e201c0003684n, 0x000dbeefdeadbee0n, 0n, 0x0abcdef012345678n)
/** A process's tables, and what stays when it has gone: EPD0 instead of TTB0, and no R. */
const svaCd = entry(0x07cde205c0003510n, 0x0000beefdeadb000n, 0n, 0x00000000f404ff44n)
const svaReleased = entry(0x07cdc205c0004000n, 0n, 0n, 0x00000000f404ff44n)

type Kind = 'ste' | 'cd'

interface Told {
  readonly syncs: number
  /** The first word was zero at a sync. */
  readonly wasInvalid: boolean
  readonly last: Int32Array
}

/** Updates, and looks at each sync as the kernel's test does: the entry is like the old one or like the new one. */
function transition(from: Int32Array, to: Int32Array, kind: Kind): Told {
  const seen = from.slice()
  const used = kind === 'ste' ? usedSteBits : usedCdBits
  const safe = (state: Int32Array, other: Int32Array): Int32Array =>
    kind === 'ste' ? safeSteBits(state, other) : new Int32Array(ENTRY_WORDS)
  const differs = (other: Int32Array): boolean => {
    const masks = [used(seen), safe(seen, other)]
    return seen.some((word, i) => ((word ^ other[i]) & masks[0][i] & ~masks[1][i]) !== 0)
  }
  let syncs = 0
  let wasInvalid = false
  const sync = (): void => {
    syncs++
    if (seen[0] === 0 && seen[1] === 0) wasInvalid = true
    else expect(differs(from) && differs(to)).toBe(false)
  }
  const store = (qword: number, lo: number, hi: number): void => {
    seen[qword * 2] = lo
    seen[qword * 2 + 1] = hi
  }
  updateEntry(from.slice(), to, { used, safe: safe(from, to), store, sync })
  return { syncs, wasInvalid, last: seen }
}

type Row = [name: string, from: Int32Array, to: Int32Array, kind: Kind, syncs: number, hitless: boolean]

const ROWS: readonly Row[] = [
  ['bypass to abort', bypass, abort, 'ste', 2, true],
  ['abort to bypass', abort, bypass, 'ste', 2, true],
  ['CD table to abort', cdtable, abort, 'ste', 2, true],
  ['abort to CD table', abort, cdtable, 'ste', 2, true],
  ['CD table to bypass', cdtable, bypass, 'ste', 3, true],
  ['bypass to CD table', bypass, cdtable, 'ste', 3, true],
  ['S1DSS 2 to 1', cdtable, s1dssBypass, 'ste', 1, true],
  ['S1DSS 1 to 2', s1dssBypass, cdtable, 'ste', 1, true],
  ['S1DSS bypass to bypass', s1dssBypass, bypass, 'ste', 2, true],
  ['bypass to S1DSS bypass', bypass, s1dssBypass, 'ste', 2, true],
  ['stage 2 to abort', s2, abort, 'ste', 2, true],
  ['abort to stage 2', abort, s2, 'ste', 2, true],
  ['stage 2 to bypass', s2, bypass, 'ste', 2, true],
  ['bypass to stage 2', bypass, s2, 'ste', 2, true],
  ['stage 1 to stage 2', cdtable, s2, 'ste', 3, true],
  ['stage 2 to stage 1', s2, cdtable, 'ste', 3, true],
  ['another table and S1DSS', cdtable, moved, 'ste', 3, false],
  ['stage 1 to stage 2 that stalls', cdtableStalling, s2Stalling, 'ste', 3, true],
  ['stage 2 that stalls to stage 1', s2Stalling, cdtableStalling, 'ste', 3, true],
  ['nested S1DSS bypass with ATS to stage 2 without', nested, s2Plain, 'ste', 3, true],
  ['stage 2 without ATS to nested S1DSS bypass with', s2Plain, nested, 'ste', 2, true],
  ['a CD where none was', invalid, s1Cd(1997n), 'cd', 2, false],
  ['clearing a CD', s1Cd(1997n), invalid, 'cd', 2, false],
  ['ASID 778 to 1997', s1Cd(778n), s1Cd(1997n), 'cd', 1, true],
  ['ASID 1997 to 778', s1Cd(1997n), s1Cd(778n), 'cd', 1, true],
  ["a process's CD where none was", invalid, svaCd, 'cd', 2, false],
  ["clearing a process's CD", svaCd, invalid, 'cd', 2, false],
  ['a process that has gone', svaCd, svaReleased, 'cd', 2, true],
  ['a process that has come back', svaReleased, svaCd, 'cd', 2, true],
]

describe("an update takes the syncs, and the invalid moment, that Linux's unit test demands", () => {
  it.each(ROWS)('%s', (_name, from, to, kind, syncs, hitless) => {
    const { last, ...told } = transition(from, to, kind)
    expect(told).toEqual({ syncs, wasInvalid: !hitless })
    expect(last).toEqual(to)
  })
})
