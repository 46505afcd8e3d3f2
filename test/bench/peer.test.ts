import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { race } from '../../bench/measure.js'
import { compilePeer, Peer, peerSource, type Run } from '../../bench/peer.js'
import { XorShift32 } from '../../bench/random.js'
import { Missing } from '../../bench/row.js'

let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'iommud-peers-'))
  writeFileSync(join(folder, 'plain.c'), 'int main(void) { return 0; }\n')
  writeFileSync(join(folder, 'glib.c'), '/* flags: -O2 -g */\n#include <glib.h>\n')
  writeFileSync(join(folder, 'map.rs'), 'fn main() {}\n')
})

afterAll(() => rmSync(folder, { recursive: true }))

/** A machine without some commands; what it runs is written down. */
function machine(without: readonly string[]): { run: Run; ran: string[] } {
  const ran: string[] = []
  const run: Run = (command, words) => {
    if (without.includes(command)) throw new Error('ENOENT')
    ran.push([command, ...words].join(' '))
    if (words.includes('-o')) writeFileSync(words[words.indexOf('-o') + 1], '')
    return command === 'pkg-config' ? '-I/glib -lglib-2.0\n' : ''
  }
  return { run, ran }
}

describe('compiling a peer', () => {
  it.each([
    ['plain', ['gcc'], 'gcc is not here, and compiles the peer plain'],
    ['map', ['rustc'], 'rustc is not here, and compiles the peer map'],
    ['glib', ['pkg-config'], 'glib is not here (libglib2.0-dev and pkg-config), and the peer glib is built on it'],
  ])('%s without %j says what is missing', (name, without, message) => {
    expect(() => compilePeer(folder, name, machine(without).run)).toThrow(new Missing(message))
  })

  it('is done once for a source', () => {
    const { run, ran } = machine([])
    const program = compilePeer(folder, 'plain', run)
    expect(compilePeer(folder, 'plain', run)).toBe(program)
    writeFileSync(join(folder, 'plain.c'), 'int main(void) { return 1; }\n')
    expect(compilePeer(folder, 'plain', run)).not.toBe(program)
    expect(ran.filter((line) => line.includes(' -o '))).toHaveLength(2)
  })

  it('uses the flags that a source names, and glib’s where it includes it', () => {
    expect(peerSource(folder, 'glib')).toMatchObject({ flags: ['-O2', '-g'], needsGlib: true })
    const { run, ran } = machine([])
    compilePeer(folder, 'glib', run)
    expect(ran.at(-1)).toContain('gcc -O2 -g ')
    expect(ran.at(-1)).toContain('-I/glib -lglib-2.0')
  })

  it('of a name that is no source fails', () => {
    expect(() => peerSource(folder, 'absent')).toThrow('there is no peer absent')
  })
})

/** A peer in JS: answers 7 a round; ends when it is asked for `end`. */
const SCRIPT = `
  console.log(process.argv[1] === 'unready' ? 'no' : 'ready')
  require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const [, rounds, what] = line.split(' ')
    if (what === 'end') { console.error('asked to'); process.exit(3) }
    console.log(what === 'odd' ? 'what' : rounds * 1e6 + ' ' + 7 * rounds)
  })`

const start = (...words: string[]): Promise<Peer> => Peer.start('script', process.execPath, ['-e', SCRIPT, ...words])

describe('a running peer', () => {
  it('answers its own time and checksum, and takes part in a race', async () => {
    const peer = await start()
    expect(await peer.turn(3)).toEqual({ ns: 3e6, sum: 21 })
    const ours = { name: 'ours', operations: 5, run: (rounds: number) => 7 * rounds }
    const timings = await race([peer.contender('peer', 5), { ...ours, run: (n) => ({ ns: n * 1e6, sum: 7 * n }) }], {
      turns: 5,
      turnMs: 1,
      agree: true,
      isWall: false,
    })
    expect(timings.map(({ medianNs }) => medianNs)).toEqual([2e5, 2e5])
    peer.stop()
  })

  it('that ends fails the row with what it said', async () => {
    const peer = await start()
    await expect(peer.turn(1, 'end')).rejects.toThrow('the peer script ended (3): asked to')
  })

  it('that answers something else fails the row', async () => {
    const peer = await start()
    await expect(peer.turn(1, 'odd')).rejects.toThrow('script: no answer')
    peer.stop()
  })

  it('says that it is ready first', async () => {
    await expect(start('unready')).rejects.toThrow('the peer script said no')
  })
})

describe('random numbers', () => {
  it('are Marsaglia’s: from 1 the first is 270369', () => {
    expect(new XorShift32(1).next()).toBe(270369)
  })
})
