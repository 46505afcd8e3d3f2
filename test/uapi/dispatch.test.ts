/** What all commands have in common. [uAPI ioctl(2) on /dev/iommu] */

import { describe, expect, it } from 'vitest'
import { Door, join, words } from './door.js'

const zeros = (count: number): Uint8Array => new Uint8Array(count)

describe('an ioctl of /dev/iommu', () => {
  it('is ENOTTY for a number that is no command, and for bits beside the number', () => {
    const door = new Door()
    // Below the table and beyond it the struct is not looked at.
    expect(door.errno(0x3b7f, zeros(0))).toBe('ENOTTY')
    expect(door.errno(0x3b95, zeros(0))).toBe('ENOTTY')
    expect(door.errno(0x3bff, zeros(0))).toBe('ENOTTY')
    expect(door.errno(0, zeros(0))).toBe('ENOTTY')
    // _IOWR(';', 0x81, 8) has the number of IOAS_ALLOC; so has another type.
    expect(door.errno(0xc0083b81, words(12, 0, 0))).toBe('ENOTTY')
    expect(door.errno(0x3a81, words(12, 0, 0))).toBe('ENOTTY')
  })

  it('reads the size before it looks at all 32 bits of the command', () => {
    const door = new Door()
    expect(door.errno(0x3b81, zeros(0))).toBe('EFAULT')
    expect(door.errno(0x3b81, zeros(3))).toBe('EFAULT')
    expect(door.errno(0xc0083b81, zeros(0))).toBe('EFAULT')
  })

  it('is EINVAL below the first layout’s size, before flags and ids are looked at', () => {
    const door = new Door()
    expect(door.errno(0x3b81, words(11, 0xff, 0))).toBe('EINVAL')
    expect(door.errno(0x3b81, words(12, 0xff, 0))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b80, words(7, 99))).toBe('EINVAL')
    expect(door.errno(0x3b81, words(0, 0, 0))).toBe('EINVAL')
  })

  it('takes a longer struct if the rest is zero, else E2BIG, before ids are looked at', () => {
    const door = new Door()
    expect(door.errno(0x3b80, words(12, 99, 0))).toBe('ENOENT')
    expect(door.errno(0x3b80, words(12, 99, 1))).toBe('E2BIG')
    // Bytes beyond `size` are nobody's.
    expect(door.errno(0x3b80, words(8, 99, 1))).toBe('ENOENT')
    expect(door.errno(0x3b80, join(words(9, 99), Uint8Array.of(1)))).toBe('E2BIG')
  })

  it('is EFAULT where the struct ends before its size, unless something before is not zero', () => {
    const door = new Door()
    expect(door.errno(0x3b80, words(0xffffffff, 99, 0))).toBe('EFAULT')
    expect(door.errno(0x3b80, words(0xffffffff, 99, 1))).toBe('E2BIG')
    expect(door.errno(0x3b81, words(12, 0))).toBe('EFAULT')
  })

  it('writes nothing back on an error, and as much as the size says on success', () => {
    const door = new Door()
    const refused = words(12, 1, 0x55555555)
    expect(door.ioctl(0x3b81, refused).arg).toEqual(refused)
    expect(door.done(0x3b81, words(12, 0, 0x55555555, 0x77777777))).toEqual(words(12, 0, 1, 0x77777777))
  })

  it('tells errno, -1 and a reason, or 0', () => {
    const door = new Door()
    const { errno, result, refusal } = door.ioctl(0x3b80, words(8, 7))
    expect([errno, result, refusal?.name, refusal?.reason]).toEqual([
      2,
      -1n,
      'ENOENT',
      'id 7 is not in use; an object is wanted',
    ])
    expect(door.ioctl(0x3b81, words(12, 0, 0))).toEqual({
      errno: 0,
      result: 0n,
      arg: words(12, 0, 1),
      written: [],
      refusal: undefined,
    })
  })

  it('is refused itself for a handle that is not open', () => {
    const door = new Door()
    expect(() => door.ioctl(0x3b81, words(12, 0, 0), [], 3)).toThrow('handle 3 is not open')
  })
})
