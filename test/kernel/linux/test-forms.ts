/** How the recording program filled the self-test's own command. */

import { Struct } from './bytes.js'
import { buffer, type Desk, type Form, idOf, iovaOf, lengthOf } from './choices.js'

const PASIDS = [0, 1, 2, 3, 4, 5, 6, 1023, 1025, 2 ** 20 - 1, 2 ** 20, 0xffffffff]

const test = (
  name: string,
  op: number,
  weight: number,
  fill: (desk: Desk, s: Struct) => Uint8Array | false | undefined,
): Form => ({
  name: `TEST_${name}`,
  command: 0x3ba0,
  bytes: 72,
  weight,
  on: 'mock',
  fill: (desk) => {
    const s = Struct.of(72).put32(4, op)
    const memory = fill(desk, s)
    return memory === false ? undefined : { s, memory }
  },
})

const nothing = (_: unknown): undefined => undefined

const pasidOf = ({ rng }: Desk): number => (rng.chance(0.7) ? rng.between(1, 6) : rng.pick(PASIDS))

/** Calls of the self-test's command. */
export const TEST_FORMS: readonly Form[] = [
  test('ADD_RESERVED', 1, 1, (desk, s) =>
    desk.rng.chance(0.8)
      ? false
      : nothing(s.put32(8, idOf(desk, 'ioas')).put64(16, iovaOf(desk)).put64(24, lengthOf(desk))),
  ),
  test('MOCK_DOMAIN', 2, 1, (desk, s) =>
    manyDevices(desk) ? false : nothing(s.put32(8, idOf(desk, 'ioas', 'paging'))),
  ),
  test('MOCK_DOMAIN', 12, 2, (desk, s) =>
    manyDevices(desk)
      ? false
      : nothing(s.put32(8, idOf(desk, 'ioas', 'paging')).put32(28, desk.rng.pick([0, 1, 4, 4, 5, 2]))),
  ),
  test('MD_CHECK_MAP', 3, 2, (desk, s) => {
    const areas = desk.linux.opened.all('ioas').flatMap((ioas) => ioas.areas)
    s.put32(8, idOf(desk, 'paging')).put64(16, iovaOf(desk)).put64(24, lengthOf(desk)).put64(32, 0x1000_0000n)
    if (areas.length === 0 || desk.rng.chance(0.3)) return undefined
    const { start, last, from } = desk.rng.pick(areas)
    return nothing(
      s
        .put64(16, start)
        .put64(24, last - start + 1n)
        .put64(32, from),
    )
  }),
  test('MOCK_DOMAIN_REPLACE', 10, 8, (desk, s) =>
    nothing(s.put32(8, idOf(desk, 'selftest')).put32(16, idOf(desk, 'paging', 'nested', 'ioas'))),
  ),
  test('DIRTY', 13, 2, (desk, s) => {
    const pages = BigInt(desk.rng.between(1, 16))
    s.put32(8, idOf(desk, 'paging'))
      .put64(24, iovaOf(desk))
      .put64(32, pages * 4096n)
      .put64(40, 4096n)
    s.put64(48, desk.rng.chance(0.05) ? 0n : 0x2000_0000n)
    return buffer(64, desk.rng.bits(64), desk.rng.bits(64))
  }),
  test('MD_CHECK_IOTLB', 14, 3, (desk, s) => {
    const nested = idOf(desk, 'nested')
    return nothing(
      s
        .put32(8, nested)
        .put32(16, desk.rng.int(5))
        .put32(20, desk.rng.pick([0, 0xbadbeef, desk.rng.int(256)])),
    )
  }),
  test('DEV_CHECK_CACHE', 16, 3, (desk, s) =>
    nothing(
      s
        .put32(8, idOf(desk, 'device'))
        .put32(16, desk.rng.int(5))
        .put32(20, desk.rng.pick([0, 0xbaddad])),
    ),
  ),
  test('PASID_ATTACH', 18, 2, (desk, s) =>
    nothing(
      s
        .put32(8, idOf(desk, 'selftest'))
        .put32(16, pasidOf(desk))
        .put32(20, idOf(desk, 'paging', 'nested', 'ioas')),
    ),
  ),
  test('PASID_REPLACE', 19, 2, (desk, s) =>
    nothing(
      s
        .put32(8, idOf(desk, 'selftest'))
        .put32(16, pasidOf(desk))
        .put32(20, idOf(desk, 'paging', 'nested')),
    ),
  ),
  test('PASID_DETACH', 20, 2, (desk, s) => nothing(s.put32(8, idOf(desk, 'selftest')).put32(16, pasidOf(desk)))),
  test('PASID_CHECK_HWPT', 21, 2, (desk, s) =>
    nothing(
      s
        .put32(8, idOf(desk, 'selftest'))
        .put32(16, pasidOf(desk))
        .put32(20, desk.rng.chance(0.2) ? 0 : idOf(desk, 'paging', 'nested')),
    ),
  ),
]

/** The program made about a dozen and kept them. */
const manyDevices = ({ linux }: Desk): boolean => linux.opened.all('selftest').length >= 12
