import { describe, expect, it } from 'vitest'
import { Refusal, RID_SLOT } from '../../server/core/driver.js'
import { Tape } from './driver-tape.js'
import { CLIENT, dma, makeHost, makeUser, NEST_PARENT, PLAIN } from './host.js'

/** Two domains, two slots far apart, a user domain: told with the n-th allocation refused. Answers whether it was. */
function story(nth: number): boolean {
  const host = makeHost()
  const device = host.probe(8)
  const used = host.ram.usedBytes
  const alloc = host.ram.alloc.bind(host.ram)
  let allocations = 0
  host.ram.alloc = (bytes) => {
    if (++allocations === nth) throw new Refusal('ENOMEM', 'refused by the test')
    return alloc(bytes)
  }
  const undo: (() => void)[] = []
  let refused = false
  try {
    const plain = host.driver.createPaging(device, PLAIN)
    undo.push(() => plain.destroy())
    plain.map(0x3fff_f000n, CLIENT, 0x2000n, { read: true, write: true })
    device.set(RID_SLOT, plain, null)
    undo.push(() => device.clear(RID_SLOT, plain))
    expect(dma(device, 0x4000_0000n)).toBe('0x100001000')
    const parent = host.driver.createPaging(device, NEST_PARENT)
    undo.push(() => parent.destroy())
    parent.map(0n, CLIENT, 0x10_0000n, { read: true, write: true })
    const user = makeUser(host, device, parent, 0x1000)
    undo.push(() => user.destroy())
    device.set(1000, user, null)
    undo.push(() => device.clear(1000, user))
  } catch (error) {
    expect((error as Refusal).name).toBe('ENOMEM')
    refused = true
  }
  for (const step of undo.reverse()) step()
  // PASID tables stay with their directory; nothing else does.
  expect(host.ram.usedBytes - used).toBeLessThanOrEqual(2 * 4096)
  expect(dma(device, 0x4000_0000n)).toMatch(/0x5[19] /)
  return refused
}

describe('a story of attachments', () => {
  it('is refused at each of its allocations with ENOMEM, and leaves nothing', () => {
    let nth = 1
    while (story(nth)) nth++
    expect(nth).toBeGreaterThan(8)
  })
})

describe('a mapping that runs out of memory', () => {
  it('is flushed before its tables are used again: a unit may have walked them', () => {
    const host = makeHost()
    const device = host.probe(8)
    const domain = host.driver.createPaging(device, PLAIN)
    domain.map(0n, CLIENT, 0x1000n, { read: true, write: true })
    device.set(5, domain, null)
    const used = host.ram.usedBytes
    const alloc = host.ram.alloc.bind(host.ram)
    let left = 1
    host.ram.alloc = (bytes) => {
      if (left-- === 0) throw new Refusal('ENOMEM', 'refused by the test')
      return alloc(bytes)
    }
    // The last page below 2 MiB has a table already, the two above have not got theirs, and the second is refused.
    const tape = new Tape(host)
    expect(() => domain.map(0x1f_f000n, CLIENT, 0x20_2000n, { read: true, write: true })).toThrow(/refused by the test/)
    expect(tape.descriptors()).toEqual([])
    expect(host.ram.usedBytes).toBeGreaterThan(used)
    tape.clear()
    domain.flush()
    // Pages 0x1ff to 0x400: AM 11, without IH.
    expect(tape.descriptors()).toEqual(['0x500020036 0xb'])
    expect(host.ram.usedBytes).toBe(used)
    expect([dma(device, 0n, 'r', 5), dma(device, 0x1f_f000n, 'r', 5)]).toEqual(['0x100000000', '0x71 SFS.2'])
  })
})
