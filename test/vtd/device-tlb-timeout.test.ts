import { beforeEach, describe, expect, it } from 'vitest'
import { type AtcInvalidation, type AtsPort, NO_DEVICES } from '../../hw-model/port.js'
import { AtsGuest, CONTEXT } from './ats-guest.js'
import { IQ, QUEUE, REG, STATUS_SLOT } from './guest.js'

const SLOT = BigInt(STATUS_SLOT)
const ITE = 0x40n
/** Everything of a source-id without PASID. */
const all = (sid: bigint): [bigint, bigint] => [(sid << 32n) | 3n, 0x7fff_ffff_ffff_f001n]
const ITESID = 32n

let tags: number[]
let guest: AtsGuest

beforeEach(() => {
  tags = []
  const invalidateAtc = ({ tag }: AtcInvalidation): boolean => {
    tags.push(tag)
    return false
  }
  guest = new AtsGuest({ devices: { ...NO_DEVICES, invalidateAtc } })
  guest.startScalable(CONTEXT.PASID)
  guest.startQueue()
})

const port = (): AtsPort => guest.unit.ats as AtsPort
const status = (): bigint => guest.load(STATUS_SLOT)
const head = (): bigint => guest.read(REG.IQH, 8) / 32n

describe('[VTD 6.5.2.11] an invalidation time-out', () => {
  it('names its device, aborts the wait that pends, and stops the queue with IQH behind it', () => {
    guest.queue(all(0x1234n), IQ.wait(7n, SLOT), IQ.wait(8n, SLOT + 4n))
    expect(port().timedOut(tags[0])).toBe(true)
    expect([guest.read(REG.FSTS), guest.read(REG.IQERCD, 8)]).toEqual([ITE, 0x1234n << ITESID])
    expect([head(), status(), guest.unit.hasWork]).toEqual([2n, 0n, false])
    guest.queue(IQ.wait(9n, SLOT + 8n))
    expect([head(), guest.load(STATUS_SLOT + 8)]).toEqual([2n, 0n])
  })

  it('is over when software says so: the queue goes on behind the aborted wait, whose status is never written', () => {
    guest.queue(all(0x1234n), IQ.wait(7n, SLOT), IQ.wait(8n, SLOT + 4n))
    port().timedOut(tags[0])
    guest.write(REG.FSTS, ITE)
    expect([guest.read(REG.FSTS), guest.read(REG.IQERCD, 8), head()]).toEqual([0n, 0n, 3n])
    expect(status()).toBe(8n << 32n)
  })

  it('leaves other invalidations outstanding, which are answered as ever', () => {
    guest.queue(all(1n), all(2n), IQ.wait(7n, SLOT), IQ.wait(8n, SLOT))
    port().timedOut(tags[0])
    guest.write(REG.FSTS, ITE)
    // The second wait has one before it that is not answered.
    expect([head(), status()]).toEqual([4n, 0n])
    expect(port().completed(tags[1])).toBe(true)
    expect(status()).toBe(8n)
  })

  it('takes answers while the error stands, and names the first device alone', () => {
    guest.queue(all(1n), all(2n), all(3n), IQ.wait(7n, SLOT))
    port().timedOut(tags[1])
    expect(port().completed(tags[0])).toBe(true)
    expect(port().timedOut(tags[2])).toBe(true)
    expect(guest.read(REG.IQERCD, 8)).toBe(2n << ITESID)
    guest.write(REG.FSTS, ITE)
    guest.queue(IQ.wait(8n, SLOT))
    expect(status()).toBe(8n)
  })

  it('frees its ITag: a late answer is a completion error', () => {
    guest.queue(all(0x1234n))
    port().timedOut(tags[0])
    expect([port().timedOut(tags[0]), port().completed(tags[0])]).toEqual([false, false])
    expect([guest.read(REG.FSTS), guest.read(REG.IQERCD, 8)]).toEqual([0x60n, (0x1234n << 48n) | (0x1234n << ITESID)])
    guest.write(REG.FSTS, 0x20n)
    expect(guest.read(REG.IQERCD, 8)).toBe(0x1234n << ITESID)
  })

  it('is over though a completion error stands, whose device is named as long as that does', () => {
    guest.queue(all(0x1234n), all(0x5678n))
    port().timedOut(tags[0])
    port().completed(tags[0])
    guest.write(REG.FSTS, ITE)
    expect([guest.read(REG.FSTS), guest.read(REG.IQERCD, 8)]).toEqual([0x20n, 0x1234n << 48n])
  })

  it('has aborted the wait before a handler of its event can clear the error', () => {
    guest.write(REG.FEADDR, 0xfee00000n)
    guest.write(REG.FECTL, 0n)
    guest.onMessage = () => guest.write(REG.FSTS, ITE)
    guest.queue(all(1n), IQ.wait(7n, SLOT), IQ.wait(8n, SLOT + 4n))
    port().timedOut(tags[0])
    expect([guest.messages.length, head(), status()]).toEqual([1, 3n, 8n << 32n])
  })

  it('ends a queue that is being switched off', () => {
    guest.queue(all(1n), IQ.wait(7n, SLOT))
    guest.write(REG.GCMD, 1n << 31n)
    port().timedOut(tags[0])
    expect([guest.read(REG.GSTS) & (1n << 26n), head(), status()]).toEqual([0n, 0n, 0n])
  })

  it('lets go of a descriptor that waited for an ITag', () => {
    guest.queue(...Array.from({ length: 33 }, () => all(1n)))
    while (guest.unit.hasWork) guest.unit.run()
    port().timedOut(tags[0])
    expect(tags.length).toBe(32)
    guest.write(REG.FSTS, ITE)
    expect(tags.length).toBe(33)
  })
})

/**
 * Linux's bookkeeping of a queue of 256 slots: an invalidation and its wait stand in pairs, and an aborted wait's owner
 * tries again. The status of a wait is written over that of its slot.
 */
class LinuxQueue {
  readonly #slots: ('free' | 'in use' | 'done' | 'aborted')[] = new Array(256).fill('free')
  #next = 0

  submit(sid: bigint): number {
    const wait = this.#next + 1
    this.#slots[this.#next] = this.#slots[wait] = 'in use'
    this.#next = (this.#next + 2) % 256
    guest.queue(all(sid), [0x25n | (2n << 32n), SLOT + BigInt(wait * 4)])
    return wait
  }

  /** Backwards from IQH over every second slot, which hold waits, to the last one that was queued. */
  clearTimeout(): bigint {
    let at = ((Number(head()) - 1 + 256) % 256) | 1
    const tail = (Number(guest.read(REG.IQT, 8) / 32n) - 1 + 256) % 256
    const sid = (guest.read(REG.IQERCD, 8) >> ITESID) & 0xffffn
    guest.write(REG.FSTS, ITE)
    do {
      if (this.#slots[at] === 'in use') this.#slots[at] = 'aborted'
      at = (at - 2 + 256) % 256
    } while (at !== tail)
    return sid
  }

  stateOf(wait: number): string {
    const word = guest.load(STATUS_SLOT + (wait & ~1) * 4)
    return Number((word >> (wait & 1 ? 32n : 0n)) & 0xffffffffn) === 2 ? 'done' : this.#slots[wait]
  }
}

describe('Linux after a time-out', () => {
  it('finds the aborted wait behind IQH, tries again, and the submissions behind it were never touched', () => {
    const queue = new LinuxQueue()
    const first = queue.submit(0x10n)
    const second = queue.submit(0x20n)
    port().timedOut(tags[0])
    expect(guest.read(REG.FSTS)).toBe(ITE)
    expect(queue.clearTimeout()).toBe(0x10n)
    expect([queue.stateOf(first), queue.stateOf(second)]).toEqual(['aborted', 'in use'])
    port().completed(tags[1])
    const again = queue.submit(0x10n)
    port().completed(tags[2])
    expect([queue.stateOf(first), queue.stateOf(second), queue.stateOf(again)]).toEqual(['aborted', 'done', 'done'])
    expect([guest.read(REG.FSTS), guest.load(QUEUE)]).toEqual([0n, all(0x10n)[0]])
  })
})
