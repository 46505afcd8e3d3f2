/** Several things wrong at once: entry by entry, and in an entry present, reserved, valid, then the kind of request. */

import { describe, expect, it } from 'vitest'
import { HOLE } from './guest.js'
import { type Kind, PASID, VA, World, type WorldOptions } from './world.js'

function found(
  kind: Kind,
  spoil: (w: World) => void,
  how: readonly [string, object?] = ['r'],
  o: WorldOptions = {},
): string {
  const w = new World(kind, o)
  spoil(w)
  return w.go().dma(VA, ...how)
}

describe('[VTD 9.2] of a scalable root entry', () => {
  it('the half that is not present is ignored', () => {
    const w = new World('first')
    w.store(w.rootEntry + 8n, ~1n)
    expect(w.go().dma(VA)).toBe('0x87654abc')
  })
})

describe('of several faults, the first is told:', () => {
  it('an absent entry has no reserved bits', () => {
    expect(found('legacy', (w) => w.store(w.rootEntry, ~1n, ~0n))).toBe('fault 1')
    expect(found('legacy', (w) => w.store(w.context, ~1n, ~0n))).toBe('fault 2')
    expect(found('first', (w) => w.store(w.rootEntry, ~1n))).toBe('fault 39')
    expect(found('first', (w) => w.store(w.context, ~1n, ~0n, ~0n, ~0n))).toBe('fault 41')
    expect(found('first', (w) => w.store(w.directoryEntry, ~1n))).toBe('fault 51')
    expect(found('first', (w) => w.store(w.entry(), ~1n, ~0n, ~0n, ~0n))).toBe('fault 59')
    expect(found('first', (w) => w.store(w.first.at(VA), ~1n))).toBe('fault 71')
    expect(found('second', (w) => w.store(w.second.at(VA), ~3n))).toBe('fault 79')
    expect(found('legacy', (w) => w.store(w.second.at(VA), ~3n))).toBe('fault 6')
  })

  it('reserved bits come before what an entry means', () => {
    expect(found('legacy', (w) => w.or(w.context, 0x1cn))).toBe('fault b')
    expect(found('first', (w) => w.or(w.entry(), 0xffen))).toBe('fault 5a')
    expect(found('first', (w) => w.store(w.context, w.directory | 0x1n | (1n << 8n)), ['r', { pasid: PASID }])).toBe(
      'fault 42',
    )
  })

  it('what an entry means comes before the request', () => {
    const bad = (w: World): void => w.or(w.entry(PASID), 7n << 6n)
    expect(found('first', bad, ['rp', { pasid: PASID }])).toBe('fault 5b')
    expect(found('first', (w) => w.store(w.context + 8n, 0x2000n))).toBe('fault 43')
  })

  it('the tables above come before those below', () => {
    const all = (w: World): void => {
      for (const at of [w.rootEntry, w.context, w.directoryEntry, w.entry()]) w.clear(at, 1n)
    }
    expect(found('first', all)).toBe('fault 39')
    expect(found('first', (w) => [w.context, w.entry()].map((at) => w.clear(at, 1n)))).toBe('fault 41')
    const tables = (w: World): void => {
      w.store(w.first.at(VA, 2), HOLE | 0x27n)
      w.clear(w.first.at(VA, 3), 1n)
    }
    expect(found('first', tables)).toBe('fault 71')
  })

  it('privilege is asked for before tables are walked, and canonical form before the first entry', () => {
    expect(found('first', (w) => w.store(w.first.at(VA, 3), 0n), ['rp', { pasid: PASID }])).toBe('fault 5d')
    const w = new World('first')
    w.store(w.entry() + 16n, HOLE)
    expect(w.go().dma(0x8000_0000_0000n)).toBe('fault 80')
  })

  it('a user request to a page of the supervisor is that, though it is read-only too', () => {
    expect(found('first', (w) => w.clear(w.first.at(VA), 6n), ['w'])).toBe('fault 81')
  })

  it('no right at all is told before the wrong one', () => {
    expect(found('second', (w) => w.clear(w.second.at(VA), 3n), ['w'])).toBe('fault 79')
    expect(found('second', (w) => w.clear(w.second.at(VA), 2n), ['w'])).toBe('fault 85')
  })
})
