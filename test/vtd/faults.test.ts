import { describe, expect, it } from 'vitest'
import { ACCESS, REQUEST, Transaction } from '../../hw-model/port.js'
import { Guest, MODE, PASIDS, REG, SID } from './guest.js'

const F = 1n << 63n

function blocked(flags = 0x9n): Guest {
  const guest = new Guest()
  guest.startScalable(flags)
  return guest
}

describe('a fault reason', () => {
  it('is told by its number and the label of its condition, or by its number alone', () => {
    const { unit } = new Guest()
    const told = [0x5, 0x48, 0x79, 0x91, 0xa5, 0xff].map((reason) => unit.faultName(reason))
    expect(told).toEqual(['0x05 LGN.2', '0x48 SCT.9', '0x79 SSS.2', '0x91 SFS.10', '0xa5 HPT.6', '0xff'])
  })
})

describe('a fault record', () => {
  it('names address, source-id, reason, type and PASID', () => {
    const guest = blocked()
    expect(guest.dma(0x1234_5678_9abcn, 'w', 0x2f)).toBe('fault 0x59')
    expect(guest.read(REG.FRCD, 8)).toBe(0x1234_5678_9000n)
    // F, T1=0 (write), PV 0x2f, FR 0x59, PP, SID 8.
    expect(guest.read(REG.FRCD + 8, 8)).toBe(F | (0x2fn << 40n) | (0x59n << 32n) | (1n << 31n) | 8n)
    expect(guest.read(REG.FSTS)).toBe(2n)
  })

  it('has T1 for reads, T1 and T2 for AtomicOps, PRIV and EXE beside a PASID, and no PASID where there was none', () => {
    const guest = blocked()
    guest.dma(0x1000n, 'r')
    expect(guest.read(REG.FRCD + 8, 8)).toBe(F | (1n << 62n) | (0x59n << 32n) | 8n)
    guest.dma(0x1000n, 'rw')
    expect(guest.read(REG.FRCD + 24, 8)).toBe(F | (1n << 62n) | (1n << 28n) | (0x59n << 32n) | 8n)
    guest.dma(0x1000n, 'rxp', 1)
    const expected = F | (1n << 62n) | (1n << 40n) | (0x59n << 32n) | (7n << 29n) | 8n
    expect(guest.read(REG.FRCD + 40, 8)).toBe(expected)
  })

  it('has no EXE for a write, which asks for none', () => {
    const guest = blocked()
    guest.dma(0x1000n, 'wx', 1)
    expect(guest.read(REG.FRCD + 8, 8)).toBe(F | (1n << 40n) | (0x59n << 32n) | (1n << 31n) | 8n)
  })

  it('has nothing of a PASID on a unit without them', () => {
    const guest = new Guest({ preset: 'vtd-legacy' })
    guest.start(MODE.LEGACY)
    expect(guest.dma(0x1000n, 'rxp', 0x2f)).toBe('fault 0x31')
    expect(guest.read(REG.FRCD + 8, 8)).toBe(F | (1n << 62n) | (0x31n << 32n) | 8n)
  })

  it('has T1 alone for a translation request, whatever rights that asks for, and no AT on a unit without device TLBs', () => {
    const guest = blocked()
    const tx = new Transaction()
    tx.rid = SID
    tx.type = REQUEST.TRANSLATION
    tx.access = ACCESS.READ | ACCESS.WRITE
    tx.lo = 0x1000
    guest.unit.translate(tx, guest.out)
    expect(guest.out.fault).toBe(0x44)
    expect(guest.read(REG.FRCD + 8, 8)).toBe(F | (1n << 62n) | (0x44n << 32n) | 8n)
  })

  it('cuts the address at the widest AGAW', () => {
    const guest = blocked()
    guest.dma(0xffff_8000_0000_1000n)
    expect(guest.read(REG.FRCD, 8)).toBe(0x8000_0000_1000n)
  })

  it('is followed by the next, and overflow stops recording until it is cleared', () => {
    const guest = blocked()
    for (let i = 0; i < 8; i++) guest.dma(BigInt(i) << 12n)
    expect(guest.read(REG.FSTS)).toBe(2n)
    guest.dma(0x9000n)
    expect(guest.read(REG.FSTS)).toBe(3n)
    guest.write(REG.FRCD + 12, 1n << 31n)
    expect(guest.read(REG.FSTS)).toBe(3n)
    guest.dma(0xa000n)
    expect(guest.read(REG.FRCD + 8, 8) & F).toBe(0n)
    guest.write(REG.FSTS, 1n)
    guest.dma(0xb000n)
    expect(guest.read(REG.FRCD, 8)).toBe(0xb000n)
    expect(guest.read(REG.FSTS)).toBe(2n)
  })

  it('is cleared one by one, and PPF with the last; FRI names the first since PPF was set and moves with it alone', () => {
    const guest = blocked()
    guest.dma(0x1000n)
    guest.dma(0x2000n)
    guest.write(REG.FRCD + 12, 1n << 31n)
    expect(guest.read(REG.FSTS)).toBe(2n)
    guest.write(REG.FRCD + 28, 1n << 31n)
    expect(guest.read(REG.FSTS)).toBe(0n)
    guest.dma(0x3000n)
    expect(guest.read(REG.FRCD + 32, 8)).toBe(0x3000n)
    expect(guest.read(REG.FSTS)).toBe(0x202n)
  })

  it('starts at the first one again after translation was off', () => {
    const guest = blocked()
    guest.dma(0x1000n)
    guest.write(REG.FRCD + 12, 1n << 31n)
    guest.stop()
    guest.startScalable()
    guest.dma(0x2000n)
    expect(guest.read(REG.FRCD, 8)).toBe(0x2000n)
  })
})

describe('the fault event', () => {
  it('is sent for the first fault only, and again when all was cleared', () => {
    const guest = blocked()
    guest.write(REG.FEDATA, 0x55n)
    guest.write(REG.FEADDR, 0xfee00000n)
    guest.write(REG.FECTL, 0n)
    guest.dma(0x1000n)
    guest.dma(0x2000n)
    expect(guest.messages).toEqual([[0xfee00000, 0x55]])
    guest.write(REG.FRCD + 12, 1n << 31n)
    guest.write(REG.FRCD + 28, 1n << 31n)
    guest.dma(0x3000n)
    expect(guest.messages.length).toBe(2)
  })

  it('pends while masked, is sent when unmasked, and is withdrawn with its last cause', () => {
    const guest = blocked()
    expect(guest.read(REG.FECTL)).toBe(0x80000000n)
    guest.dma(0x1000n)
    expect(guest.read(REG.FECTL)).toBe(0xc0000000n)
    guest.write(REG.FECTL, 0n)
    expect([guest.read(REG.FECTL), guest.messages.length]).toEqual([0n, 1])
    guest.write(REG.FECTL, 0x80000000n)
    guest.write(REG.FRCD + 12, 1n << 31n)
    guest.dma(0x2000n)
    guest.write(REG.FRCD + 28, 1n << 31n)
    expect(guest.read(REG.FECTL)).toBe(0x80000000n)
  })
})

describe('fault processing disable', () => {
  const recorded = (guest: Guest): bigint => guest.read(REG.FSTS) & 2n

  it.each([
    ['context', (guest: Guest) => guest.store(guest.context, 0x400bn)],
    ['directory', (guest: Guest) => guest.store(guest.directory, BigInt(PASIDS | 3))],
    ['absent PASID entry', (guest: Guest) => guest.store(PASIDS, 2n)],
  ])('in a %s entry blocks without a record, and the outcome still names the reason', (_, set) => {
    const guest = blocked()
    set(guest)
    expect(guest.dma(0x1000n)).toBe('fault 0x59')
    expect(recorded(guest)).toBe(0n)
  })

  it('holds for faults of the page tables, cold and with everything cached', () => {
    const guest = blocked()
    guest.firstStage(0, 2, 0x100000)
    guest.store(PASIDS, 0x43n)
    expect(guest.dma(0x1000n)).toBe('fault 0x71')
    expect(guest.dma(0x1000n)).toBe('fault 0x71')
    expect(recorded(guest)).toBe(0n)
  })

  it('does not silence what is not qualified', () => {
    const guest = blocked()
    guest.store(guest.context, 0x80_0000_000bn)
    expect(guest.dma(0x1000n)).toBe('fault 0x50')
    expect(recorded(guest)).toBe(2n)
  })

  it('is of the entries that were met: another PASID is still recorded', () => {
    const guest = blocked()
    guest.store(PASIDS, 2n)
    guest.dma(0x1000n)
    guest.dma(0x1000n, 'r', 3)
    expect((guest.read(REG.FRCD + 8, 8) >> 40n) & 0xfffffn).toBe(3n)
  })
})
