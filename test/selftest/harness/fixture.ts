/**
 * A fixture of the kernel's self-test: its variants, what it sets up, and its tests by name. Each test is played in
 * every world where it makes sense; where it does not, the reason is said, and `inventory.test.ts` reads it.
 */

import { afterAll, beforeAll, describe, it } from 'vitest'
import { type Daemon, startDaemon } from '../../../clients/node/testing.js'
import { Lab, type World, type WorldName } from './lab.js'
import { MOCK_WORLD } from './mock-world.js'
import { platformFile } from './platform-file.js'
import { SMMU_WORLD, VTD_WORLD } from './real-world.js'

/** One test. */
export interface Case<S, V> {
  run(self: S, lab: Lab, variant: V): Promise<void>
  /** Worlds where it makes no sense, and why. */
  readonly not?: Partial<Record<WorldName, string>>
  /** Why a variant has nothing to test, in any world; undefined where it has. */
  readonly skips?: (variant: V) => string | undefined
}

/** A fixture. */
export interface Fixture<S = unknown, V = unknown> {
  readonly name: string
  /** By name; a fixture without variants has one with an empty name. */
  readonly variants: Readonly<Record<string, V>>
  setUp(lab: Lab, variant: V): Promise<S>
  tearDown?(self: S, lab: Lab, variant: V): Promise<void>
  readonly tests: Readonly<Record<string, Case<S, V>>>
  /** Flags of the daemon. */
  readonly daemonArgs?: readonly string[]
}

/** All worlds. */
export const WORLDS: readonly World[] = [MOCK_WORLD, SMMU_WORLD, VTD_WORLD]

/** The name of a case, as the kernel's self-test prints it. */
export const caseName = (fixture: string, variant: string, test: string): string =>
  [fixture, variant, test].filter((part) => part !== '').join('.')

/** Plays a fixture's cases in every world. */
export function play<S, V>(fixture: Fixture<S, V>): void {
  describe.each(WORLDS)('in the world of $name', (world) => {
    let daemon: Daemon
    beforeAll(async () => {
      // A daemon of its own on a socket costs more for each call; the same bytes go through the same codec in process.
      const inProcess = process.env['IOMMUD_TEST_SOCKET'] !== '1'
      const args = ['--test-device', '--platform', platformFile(), ...(fixture.daemonArgs ?? [])]
      daemon = await startDaemon({ inProcess, args })
    })
    afterAll(() => daemon.stop())
    for (const [variant, value] of Object.entries(fixture.variants)) {
      for (const [test, one] of Object.entries(fixture.tests)) {
        if (one.not?.[world.name] !== undefined || one.skips?.(value) !== undefined) continue
        it(caseName(fixture.name, variant, test), { timeout: 30_000 }, async () => {
          const lab = await Lab.enter(world, daemon)
          try {
            const self = await fixture.setUp(lab, value)
            await one.run(self, lab, value)
            await fixture.tearDown?.(self, lab, value)
          } finally {
            await lab.process.exit()
          }
        })
      }
    }
  })
}
