/** Rows of the table of faults, for the two kinds of requests that ATS brings. [VTD 7.1.3 T30] */

import { describe, expect, it } from 'vitest'
import { MEMORY } from '../../hw-model/memory/index.js'
import { NO_PASID } from '../../hw-model/port.js'
import { AtsGuest, type AtsOptions, FIRST, SECOND } from './ats-guest.js'
import { FS, MODE, SID, SS } from './guest.js'

/** What is asked for, */
export const VA = 0x123456000n
/** and what good tables answer. */
export const PA = 0x800000n
/** Nothing stands there. */
export const HOLE = 0x8000_0000n
/** Where the tables of a guest stand. */
export const ROOT = 0x1000
/** Context entries of bus 0. */
export const CONTEXTS = 0x2000
/** PASID table entries 0 to 63, */
export const PASIDS = 0x5000
/** and the directory's first entry, which leads there. */
export const DIRECTORY = 0x4000n

/** Makes tables, with FPD in the context entry or without, and spoils them. */
export type Prepare = (guest: AtsGuest, fpd: bigint) => void

/** Where the tables of a 48-bit walk have the entry of VA, by level. */
export const entry = (table: number, level: number): number =>
  table + (3 - level) * 0x1000 + Number((VA >> BigInt(12 + 9 * level)) & 511n) * 8

/** Scalable tables, with a context entry of the flags given (P, DTE and PASIDE alone), then what is wrong with them. */
export const scalable =
  (spoil: (guest: AtsGuest) => void, flags = 0xdn): Prepare =>
  (guest, fpd) => {
    guest.startScalable(flags | fpd)
    spoil(guest)
  }

/** The same with one first-stage page, whose flags are set already. */
export const first = (spoil: (guest: AtsGuest) => void, pasid = 0): Prepare =>
  scalable((guest) => {
    guest.mapFirst(VA, PA | FS.PAGE, pasid)
    spoil(guest)
  })

/** The same with one second-stage page. */
export const second = (spoil: (guest: AtsGuest) => void, flags = 0n): Prepare =>
  scalable((guest) => {
    guest.mapSecond(VA, PA | SS.RW, flags)
    spoil(guest)
  })

/** Both, over an identity of 4 KiB pages, which `spoil` may take rights from. */
export const nested = (spoil: (guest: AtsGuest) => void, leaf: bigint = PA | FS.PAGE): Prepare =>
  scalable((guest) => {
    guest.nested(0, 2, FIRST, SECOND)
    guest.path(FIRST, VA, leaf, FS.TABLE)
    guest.path(SECOND, 0n, SS.RW, 3n)
    for (let page = 1n; page < 512n; page++) guest.store(SECOND + 0x3000 + Number(page) * 8, (page << 12n) | SS.RW)
    spoil(guest)
  })

/** A right that the second stage leaves of the page of a first-stage table. */
export const leaves = (table: number, rights: bigint): ((guest: AtsGuest) => void) => {
  const page = BigInt(table) & ~0xfffn
  return (guest) => guest.store(SECOND + 0x3000 + Number(page >> 12n) * 8, page | rights)
}

/** Legacy tables with one page and TT=01, AW=2, then what is wrong with them. */
export const legacy =
  (spoil: (guest: AtsGuest, qw0: bigint) => void): Prepare =>
  (guest, fpd) => {
    const qw0 = BigInt(SECOND) | 0x5n | fpd
    guest.path(SECOND, VA, PA | SS.RW, 3n)
    guest.store(ROOT, BigInt(CONTEXTS) | 1n, 0n)
    guest.store(CONTEXTS + SID * 16, qw0, 0x202n)
    spoil(guest, qw0)
    guest.start(MODE.LEGACY)
  }

export const context = (qw0: bigint, qw1 = 0x202n): Prepare =>
  legacy((guest) => guest.store(CONTEXTS + SID * 16, qw0, qw1))

/** Another root table. */
export const rootAt =
  (address: bigint, mode: bigint): Prepare =>
  (guest) => {
    guest.write(0x20, address | (mode << 10n), 8)
    guest.write(0x18, (1n << 30n) | (1n << 31n))
  }

/** Flags cannot be set. */
export const noUpdates = (guest: AtsGuest): void => {
  guest.memory.updateFlags = () => MEMORY.ABORT
}

/** One row, ready to be told. */
export interface Row {
  readonly code: string
  readonly what: string
  /** UR, CA, nothing, or what is left. */
  readonly asked: string
  /** Whether a translated request meets it too. */
  readonly isTranslatedBlocked: boolean
  readonly isQualified: boolean
  readonly prepare: Prepare
  readonly access?: string
  readonly pasid?: number
  readonly address?: bigint
  readonly options?: AtsOptions
}

/**
 * One row: the code, the answer to a translation request (r and w are what is left of the rights), Q where FPD keeps the
 * fault from being recorded, TD where a translated request meets it too; and what it is.
 */
export function row(text: string, prepare: Prepare, rest: Partial<Row> = {}): Row {
  const [facts, what] = text.split(': ')
  const [code, asked, ...flags] = facts.split(' ')
  return {
    code,
    what,
    asked: asked.length === 1 ? `${asked} 0x800000/12` : asked,
    isTranslatedBlocked: flags.includes('TD'),
    isQualified: flags.includes('Q'),
    prepare,
    ...rest,
  }
}

/** VER of a unit that is otherwise the same. */
export function version(VER: number): AtsOptions {
  return { ids: { VER, CAP: [0x226f0606, 0x81d2078c], ECAP: [0x84000fc7, 0x0113eb9e] } }
}

/** Whether an answer is one that software hears of. */
const isRecorded = ({ asked, code }: Row): boolean => asked === 'UR' || asked === 'CA' || code === '0x91'

/** Tells each row of a section, for both kinds of requests. */
export function tellRows(subject: string, rows: readonly Row[]): void {
  describe(`a translation request that meets ${subject}`, () => {
    it.each(rows)('is answered $asked at $code, $what', (row) => {
      for (const fpd of [0n, 2n]) {
        const guest = new AtsGuest(row.options)
        row.prepare(guest, fpd)
        const { asked, code, address = VA, access = 'rw', pasid = NO_PASID } = row
        const hasReason = asked === 'UR' || asked === 'CA'
        expect(guest.ask(address, access, pasid)).toBe(hasReason ? `${asked} ${code}` : asked)
        const isSilent = fpd !== 0n && row.isQualified
        expect(guest.faults()).toEqual(isRecorded(row) && !isSilent ? [`${code} AT=1`] : [])
      }
    })
  })

  describe(`a translated request that meets ${subject}`, () => {
    it.each(rows)('at $code, $what', (row) => {
      const guest = new AtsGuest(row.options)
      row.prepare(guest, 0n)
      const { code, pasid = NO_PASID, isTranslatedBlocked } = row
      if (isTranslatedBlocked) {
        expect(guest.translated(PA, 'r', pasid)).toBe(`fault ${code}`)
        expect(guest.faults()).toEqual([`${code} AT=2`])
      } else if (pasid === NO_PASID) {
        expect(guest.translated(PA)).toBe('0x800000')
        expect(guest.faults()).toEqual([])
      }
    })
  })
}
