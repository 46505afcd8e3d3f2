/** Files of clients as memory: which are mapped, what another process writes, and what happens when one shrinks. */

import { execFileSync } from 'node:child_process'
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Refusal } from '../../server/core/refusal.js'
import { type FileRange, SharedMemory } from '../../server/ops/shared-memory.js'

const outside = mkdtempSync(join(tmpdir(), 'iommud-outside-'))
const root = mkdtempSync(join(tmpdir(), 'iommud-root-'))
const memory = new SharedMemory([root])

function file(name: string, bytes: number): string {
  const path = join(root, name)
  writeFileSync(path, Buffer.alloc(bytes, 0xab))
  return path
}

const range = (path: string, changes: Partial<FileRange> = {}): FileRange => ({
  path,
  offset: 0,
  lengthBytes: 0,
  writable: false,
  ...changes,
})

function refusalOf(act: () => unknown): Refusal {
  try {
    act()
  } catch (error) {
    if (error instanceof Refusal) return error
    throw error
  }
  throw new Error('it was not refused')
}

describe('a mapped file', () => {
  it('shows what another process writes, and writes through', () => {
    const path = file('both', 8192)
    const mapping = memory.map(range(path, { writable: true }))
    const words = new Uint32Array(mapping.buffer)
    expect([mapping.lengthBytes, words[1024]]).toEqual([8192, 0xabababab])
    const script = `const fs = require('fs'); const fd = fs.openSync(process.argv[1], 'r+');
      fs.writeSync(fd, Buffer.from([1, 2, 3, 4]), 0, 4, 4096)`
    execFileSync(process.execPath, ['-e', script, path])
    expect(words[1024]).toBe(0x04030201)
    words[0] = 0x11223344
    expect(readFileSync(path).readUInt32LE(0)).toBe(0x11223344)
    mapping.release()
  })

  it('may be a part, from a page on', () => {
    const path = file('part', 3 * 4096)
    writeFileSync(path, Buffer.from([7]), { flag: 'r+' })
    const mapping = memory.map(range(path, { offset: 4096, lengthBytes: 4096 }))
    expect([mapping.lengthBytes, new Uint8Array(mapping.buffer)[0]]).toEqual([4096, 0xab])
    mapping.release()
  })

  it('reads as zeroes once it is released, and the file is left alone', () => {
    const path = file('released', 4096)
    const mapping = memory.map(range(path, { writable: true }))
    const bytes = new Uint8Array(mapping.buffer)
    mapping.release()
    mapping.release()
    bytes[1] = 9
    expect(bytes[0]).toBe(0)
    expect(readFileSync(path)[1]).toBe(0xab)
  })

  it('keeps what is left of it when it shrinks, and has zeroes for the rest', () => {
    const path = file('shrunk', 4 * 4096)
    const mapping = memory.map(range(path))
    const bytes = new Uint8Array(mapping.buffer)
    truncateSync(path, 4096 + 1)
    mapping.check()
    expect(mapping.intactBytes).toBe(2 * 4096)
    expect([bytes[4096], bytes[4097], bytes[2 * 4096], bytes[4 * 4096 - 1]]).toEqual([0xab, 0, 0, 0])
    mapping.release()
  })

  it('learns of its shrinking from the kernel', async () => {
    const path = file('watched', 2 * 4096)
    const mapping = memory.map(range(path))
    truncateSync(path, 0)
    for (let turns = 0; mapping.intactBytes > 0 && turns < 500; turns++)
      await new Promise((next) => setTimeout(next, 2))
    expect(mapping.intactBytes).toBe(0)
    expect(new Uint8Array(mapping.buffer)[0]).toBe(0)
    mapping.release()
  })

  it('is the one that was opened, though another has its name now', () => {
    const path = file('renamed', 4096)
    const mapping = memory.map(range(path))
    unlinkSync(path)
    expect(new Uint8Array(mapping.buffer)[0]).toBe(0xab)
    mapping.release()
  })
})

describe('a range', () => {
  const path = file('ranges', 2 * 4096)
  const refusals: readonly (readonly [string, Partial<FileRange>, string])[] = [
    ['ends beyond the file', { lengthBytes: 3 * 4096 }, 'EINVAL'],
    ['starts at its end', { offset: 2 * 4096 }, 'EINVAL'],
    ['starts inside a page', { offset: 2048 }, 'EINVAL'],
    ['ends inside a page', { lengthBytes: 4097 }, 'EINVAL'],
    ['starts before the file', { offset: -4096 }, 'EINVAL'],
    ['is of a relative path', { path: 'ranges' }, 'EINVAL'],
    ['is of a file that is not there', { path: join(root, 'none') }, 'ENOENT'],
    ['is of a folder', { path: root }, 'EACCES'],
    ['is of a device', { path: '/dev/zero' }, 'EACCES'],
  ]
  it.each(refusals)('that %s is refused', (_what, changes, errno) => {
    expect(refusalOf(() => memory.map(range(path, changes))).name).toBe(errno)
  })
})

describe('a path', () => {
  const secret = join(outside, 'secret')
  writeFileSync(secret, Buffer.alloc(4096))

  it('outside the allowed folders is refused with EACCES, and the folders are told', () => {
    const refusal = refusalOf(() => memory.map(range(secret)))
    expect(refusal.name).toBe('EACCES')
    expect(refusal.context.fileRoots).toEqual([root])
  })

  it('that climbs out is refused', () => {
    expect(refusalOf(() => memory.map(range(join(root, 'x', '..', '..', secret.slice(1))))).name).toMatch(
      /ENOENT|EACCES/,
    )
    mkdirSync(join(root, 'x'))
    expect(refusalOf(() => memory.map(range(`${root}/x/../../../../../${secret}`))).name).toBe('EACCES')
  })

  it('that a link leads out of is refused, be the link the file or a folder on the way', () => {
    symlinkSync(secret, join(root, 'link'))
    symlinkSync(outside, join(root, 'folder'))
    expect(refusalOf(() => memory.map(range(join(root, 'link')))).name).toBe('EACCES')
    expect(refusalOf(() => memory.map(range(join(root, 'folder', 'secret')))).name).toBe('EACCES')
  })

  it('may have links that stay inside', () => {
    symlinkSync(file('target', 4096), join(root, 'inner'))
    memory.map(range(join(root, 'inner'))).release()
  })

  it('beside an allowed folder with a longer name is outside', () => {
    mkdirSync(`${root}-more`)
    writeFileSync(`${root}-more/f`, Buffer.alloc(4096))
    expect(refusalOf(() => memory.map(range(`${root}-more/f`))).name).toBe('EACCES')
  })

  it('is told how to be allowed when no folder is', () => {
    expect(refusalOf(() => new SharedMemory([]).map(range(secret))).message).toContain('--file-root')
  })

  it('by a hard link is the file itself, as the folder gives it', () => {
    linkSync(secret, join(root, 'hard'))
    memory.map(range(join(root, 'hard'))).release()
  })
})

describe('many mappings', () => {
  it('give their addresses back only when nobody looks at them any more', async () => {
    const path = file('many', 1 << 20)
    const kept = memory.map(range(path))
    const keptBytes = new Uint8Array(kept.buffer)
    for (let i = 0; i < 2000; i++) {
      const mapping = memory.map(range(path))
      expect(new Uint8Array(mapping.buffer)[i]).toBe(0xab)
      mapping.release()
      if (i % 100 === 0) await new Promise((next) => setImmediate(next))
    }
    expect(keptBytes[12345]).toBe(0xab)
    kept.release()
  })
})
