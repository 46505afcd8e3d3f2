import { describe, expect, it } from 'vitest'
import { NO_PASID, Outcome, REQUEST, STATUS, Transaction, type WalkStep } from '../../hw-model/port.js'
import { AtsGuest, CONTEXT, FIRST, halves } from './ats-guest.js'
import { accessOf, FS, REG, SID } from './guest.js'

const VA = 0x123456000n
const PA = 0x800000n

function started(flags: bigint = CONTEXT.PASID): AtsGuest {
  const guest = new AtsGuest()
  guest.startScalable(flags)
  return guest
}

function request(va: bigint, access = 'rw', type: number = REQUEST.TRANSLATION, pasid = NO_PASID): Transaction {
  const [lo, hi] = halves(va)
  return Object.assign(new Transaction(), { rid: SID, pasid, type, access: accessOf(access), lo, hi })
}

/** The verdict of an explained request. */
function verdict(guest: AtsGuest, tx: Transaction): string {
  const steps: WalkStep[] = []
  const out = new Outcome()
  guest.unit.explain(tx, out, { step: (step) => steps.push(step) })
  return steps.at(-1)?.verdict ?? ''
}

describe('explaining a translation request', () => {
  it('says what is granted, and touches nothing', () => {
    const guest = started().mapFirst(VA, PA | FS.P | FS.RW | FS.US)
    expect(verdict(guest, request(VA))).toBe('translated, 4 KiB around it, read-write')
    expect(verdict(guest, request(VA, 'r'))).toBe('translated, 4 KiB around it, read-only')
    expect(guest.load(FIRST + 0x3000 + Number((VA >> 12n) & 511n) * 8)).toBe(PA | FS.P | FS.RW | FS.US)
    expect(guest.unit.counters.translations).toBe(0)
  })

  it('says that nothing is granted, that it is unsupported, or what is broken, and records nothing', () => {
    expect(verdict(started().mapFirst(VA, PA | FS.PAGE), request(VA + 0x1000n))).toBe('success, and nothing is granted')
    const guest = started(0x9n)
    expect(verdict(guest, request(VA))).toBe('Unsupported Request: 0x44 SCT.5')
    guest.store(guest.context, 0x408dn)
    expect(verdict(guest, request(VA))).toBe('Completer Abort: 0x42 SCT.3')
    guest.stop()
    expect(verdict(guest, request(VA))).toBe('blocked: unsupported request')
    expect(guest.read(REG.FSTS)).toBe(0n)
  })

  it('says that the interrupt range is for untranslated writes', () => {
    const guest = started().mapFirst(VA, PA | FS.PAGE)
    expect(verdict(guest, request(0xfee00000n))).toBe('the interrupt address range, for untranslated writes alone')
  })

  it('of a translated address says that it stays as it came, or why not', () => {
    const guest = started()
    expect(verdict(guest, request(PA, 'r', REQUEST.TRANSLATED))).toBe('the address as it came')
    expect(verdict(guest, request(0xfee00000n, 'r', REQUEST.TRANSLATED))).toBe('blocked: 0x87 SGN.8')
  })
})

describe('the caches, asked about a translation request', () => {
  it('answer what an entry holds for it, and that its device may not ask', () => {
    const guest = started().mapFirst(VA, PA | FS.PAGE)
    const out = new Outcome()
    expect(guest.unit.peek(request(VA), out)).toBe(false)
    guest.ask(VA)
    expect(guest.unit.peek(request(VA), out)).toBe(true)
    expect([out.status, out.address, out.rights]).toEqual([STATUS.OK, 0x800000, 3])
    const other = started(0x9n).mapFirst(VA, PA | FS.PAGE)
    other.dma(VA, 'rw')
    expect([other.unit.peek(request(VA), out), out.status]).toEqual([true, STATUS.UNSUPPORTED])
    expect([other.unit.peek(request(VA, 'rw', 0), out), out.status]).toEqual([true, STATUS.OK])
  })

  it('lack the IOTLB invalidation that a changed page needs, and the context one of a device that lost its right', () => {
    const guest = started().mapFirst(VA, PA | FS.PAGE)
    guest.ask(VA)
    guest.path(FIRST, VA, 0n, FS.TABLE)
    const page = halves(VA)
    expect(guest.unit.missing(request(VA))).toEqual([{ name: 'P_IOTLB', operands: { DID: 2, PASID: 0, IH: 1 }, page }])
    guest.path(FIRST, VA, PA | FS.PAGE, FS.TABLE)
    expect(guest.unit.missing(request(VA))).toEqual([])
    guest.store(guest.context, 0x4009n)
    expect(guest.unit.missing(request(VA))).toEqual([
      { name: 'context cache', operands: { SID } },
      { name: 'P_IOTLB', operands: { DID: 2, PASID: 0, IH: 1 }, page },
    ])
    expect(guest.unit.missing(request(PA, 'r', REQUEST.TRANSLATED))).toEqual([
      { name: 'context cache', operands: { SID } },
    ])
  })
})
