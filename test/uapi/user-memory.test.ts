/** What pointers of structs may name. */

import { describe, expect, it } from 'vitest'
import type { Call } from '../../server/core/call.js'
import { Refusal } from '../../server/core/refusal.js'
import { type MemoryRange, UserMemory } from '../../server/uapi/user-memory.js'
import { Door, type Memory, memory } from './door.js'

/** The memory of a call in the door's context. */
function memoryOf(door: Door, ...ranges: readonly MemoryRange[]): UserMemory {
  const context = door.core.contextOf(door.token, door.peer)
  return door.core.run(door.peer, context, (call: Call) => new UserMemory(call, ranges), undefined) as UserMemory
}

const no = (action: () => unknown): string => {
  try {
    action()
  } catch (error) {
    if (error instanceof Refusal) return error.name
    throw error
  }
  return 'ok'
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)

describe('memory of a call', () => {
  it('is read where a range of the call is, also across ranges that touch', () => {
    const user = memoryOf(new Door(), memory(0x1004n, bytes(5, 6, 7)), memory(0x1000n, bytes(1, 2, 3, 4)))
    expect(user.read(0x1001n, 5)).toEqual(bytes(2, 3, 4, 5, 6))
    expect(user.read(0x1006n, 1)).toEqual(bytes(7))
    expect(no(() => user.read(0x1006n, 2))).toBe('EFAULT')
    expect(no(() => user.read(0xfffn, 2))).toBe('EFAULT')
    expect(no(() => user.read(0n, 1))).toBe('EFAULT')
    // Nothing is touched for no bytes, whatever the pointer is.
    expect(user.read(0n, 0)).toEqual(bytes())
  })

  it('comes back where it was written, and only there', () => {
    const user = memoryOf(new Door(), memory(0x1000n, bytes(1, 2, 3, 4, 5, 6, 7, 8)), memory(0x2000n, bytes(9)))
    user.write(0x1002n, bytes(0x22))
    user.write(0x1005n, bytes(0x55, 0x66))
    user.write(0x1003n, bytes(0x33))
    expect(user.written).toEqual([memory(0x1002n, bytes(0x22, 0x33)), memory(0x1005n, bytes(0x55, 0x66))])
    user.write(0x1004n, bytes(0x44))
    expect(user.written).toEqual([memory(0x1002n, bytes(0x22, 0x33, 0x44, 0x55, 0x66))])
    expect(user.read(0x1000n, 8)).toEqual(bytes(1, 2, 0x22, 0x33, 0x44, 0x55, 0x66, 8))
  })

  it('is written up to the byte that cannot be, as the kernel does', () => {
    const user = memoryOf(new Door(), memory(0x1000n, bytes(1, 2)), memory(0x1002n, bytes(3), false))
    expect(no(() => user.write(0x1001n, bytes(9, 9)))).toBe('EFAULT')
    expect(user.written).toEqual([memory(0x1001n, bytes(9))])
    expect(user.read(0x1000n, 3)).toEqual(bytes(1, 9, 3))
  })

  it('leaves the caller’s own bytes alone', () => {
    const given = bytes(1, 2)
    memoryOf(new Door(), memory(0x1000n, given)).write(0x1000n, bytes(7, 7))
    expect(given).toEqual(bytes(1, 2))
  })

  it('is EINVAL where ranges overlap or end beyond 2^64, and ends at the last byte', () => {
    const door = new Door()
    const bad = (...ranges: readonly Memory[]): string => no(() => memoryOf(door, ...ranges))
    expect(bad(memory(0x1000n, bytes(1, 2)), memory(0x1001n, bytes(1)))).toBe('EINVAL')
    expect(bad(memory(0x1000n, bytes(1, 2)), memory(0x1000n, bytes(1)))).toBe('EINVAL')
    expect(bad(memory(0x1000n, bytes(1, 2)), memory(0x1002n, bytes(1)))).toBe('ok')
    expect(bad(memory(2n ** 64n - 1n, bytes(1, 2)))).toBe('EINVAL')
    const last = memoryOf(door, memory(2n ** 64n - 1n, bytes(1)))
    expect(last.read(2n ** 64n - 1n, 1)).toEqual(bytes(1))
    expect(no(() => last.read(2n ** 64n - 1n, 2))).toBe('EFAULT')
  })

  it('is E2BIG in more ranges, or more bytes, than a call has', () => {
    const door = new Door()
    const many = Array.from({ length: 65_537 }, (_, i) => memory(BigInt(i) * 2n, bytes(0)))
    expect(no(() => memoryOf(door, ...many))).toBe('E2BIG')
    expect(no(() => memoryOf(door, memory(0n, new Uint8Array(3 * 2 ** 20 + 1))))).toBe('E2BIG')
  })
})

describe('memory of regions', () => {
  const withRegion = (): Door => {
    const door = new Door()
    door.region(0x1000n, 0x70000000n)
    return door
  }

  it('is read and written where a region has a client address, and does not come back', () => {
    const door = withRegion()
    const user = memoryOf(door)
    user.write(0x70000ffen, bytes(1, 2))
    expect(user.written).toEqual([])
    const [data] = door.do('ReadMemory', { slices: [{ regionId: 1, offset: 0xffen, length: 2 }] }).data
    expect(data).toEqual(bytes(1, 2))
    expect(user.read(0x70000ffdn, 3)).toEqual(bytes(0, 1, 2))
    expect(no(() => user.read(0x70000fffn, 2))).toBe('EFAULT')
  })

  it('is looked at behind the ranges of the call, which may lie in the middle of it', () => {
    const door = withRegion()
    const user = memoryOf(door, memory(0x70000002n, bytes(8, 9)))
    user.write(0x70000000n, bytes(1, 2, 3, 4, 5))
    expect(user.written).toEqual([memory(0x70000002n, bytes(3, 4))])
    const [data] = door.do('ReadMemory', { slices: [{ regionId: 1, offset: 0n, length: 5 }] }).data
    expect(data).toEqual(bytes(1, 2, 0, 0, 5))
    expect(user.read(0x70000000n, 5)).toEqual(bytes(1, 2, 3, 4, 5))
  })

  it('is another context’s to nobody', () => {
    const door = withRegion()
    door.token = door.open().context
    expect(no(() => memoryOf(door).read(0x70000000n, 1))).toBe('EFAULT')
  })
})

describe('clearing', () => {
  it('writes zeros up to the byte that cannot be written', () => {
    const user = memoryOf(new Door(), memory(0x1000n, bytes(1, 2, 3)))
    expect([...user.clear(0x1001n, 1)]).toEqual([undefined])
    expect(user.written).toEqual([memory(0x1001n, bytes(0))])
    expect(no(() => [...user.clear(0x1002n, 2)])).toBe('EFAULT')
    expect(user.read(0x1000n, 3)).toEqual(bytes(1, 0, 0))
    expect([...user.clear(0n, 0)]).toEqual([])
  })
})
